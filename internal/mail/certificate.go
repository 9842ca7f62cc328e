package mail

import (
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"mailpoller/internal/certificate"
)

// ClientKey says where a client certificate and its private key come from.
// Either Certificate and PrivateKey are set or PKCS12.
type ClientKey struct {
	Label       string
	Certificate string       // path of a PEM file
	PrivateKey  string       // likewise; may be encrypted
	PKCS12      string       // path of a file with both
	Password    SecretSource // of the private key, or of the PKCS #12 file
}

// Server is a host and port: what an operator's trust in a certificate is
// bound to.
type Server struct {
	Host string // lower case
	Port int
}

// String is host:port.
func (s Server) String() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Refused is a chain of certificates that a server presented and that was not
// trusted.
type Refused struct {
	Server      Server
	Chain       []certificate.Certificate // the server's own first
	Connection  string                    // that met it last
	Reason      string                    // in one line
	First, Last time.Time                 // when it was seen
	Times       int                       // how often
	Trusted     []bool                    // for each of Chain: whether an operator trusts it for this server
}

// Handshake is a TLS handshake that went well.
type Handshake struct {
	Server  Server
	Version string
	Suite   string
	Resumed bool
	Expires time.Time // the certificate of the server
}

// HandshakeOf is what is told of a handshake with s.
func HandshakeOf(s Server, cs tls.ConnectionState) Handshake {
	return Handshake{
		Server: s, Version: tls.VersionName(cs.Version), Suite: tls.CipherSuiteName(cs.CipherSuite),
		Resumed: cs.DidResume, Expires: cs.PeerCertificates[0].NotAfter,
	}
}
