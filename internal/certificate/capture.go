package certificate

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/cryptobyte"
)

// maxCaptured bounds what is kept of a handshake. crypto/tls takes no chain of
// more than 256 KiB.
const maxCaptured = 300 << 10

// Capture is a connection that keeps the handshake that passes through it, so
// that the server's certificates are known also when crypto/tls fails to parse
// one and hands out none. It is used by one goroutine until Stop.
type Capture struct {
	net.Conn
	Sent     int // bytes, until the first came back
	received []byte
	secret   []byte // what TLS 1.3 encrypts the server's part of the handshake with
	stopped  bool
}

// NewCapture is conn, to be given to crypto/tls together with config. The one
// secret that is kept opens nothing but the server's part of the handshake.
func NewCapture(conn net.Conn, config *tls.Config) *Capture {
	c := &Capture{Conn: conn}
	config.KeyLogWriter = (*keyLog)(c)
	return c
}

// Read implements net.Conn.
func (c *Capture) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.stopped && len(c.received) < maxCaptured {
		c.received = append(c.received, p[:n]...)
	}
	return n, err
}

// Write implements net.Conn.
func (c *Capture) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if !c.stopped && len(c.received) == 0 {
		c.Sent += n
	}
	return n, err
}

// Silent reports whether nothing has come back.
func (c *Capture) Silent() bool { return len(c.received) == 0 }

// Stop ends the capture and forgets what was kept.
func (c *Capture) Stop() { c.stopped, c.received, c.secret = true, nil, nil }

// keyLog hears of secrets, in NSS's format: "LABEL CLIENT_RANDOM SECRET".
type keyLog Capture

// Write implements io.Writer.
func (c *keyLog) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if !c.stopped && len(fields) == 3 && string(fields[0]) == "SERVER_HANDSHAKE_TRAFFIC_SECRET" {
		secret, err := hex.DecodeString(string(fields[2]))
		if err != nil {
			return 0, err
		}
		c.secret = secret
	}
	return len(line), nil
}

// Types of records (RFC 8446, section 5.1), of messages of the handshake and of an
// extension (section 4).
const (
	recordAlert        = 21
	recordHandshake    = 22
	recordData         = 23
	messageServerHello = 2
	messageCertificate = 11
	extensionVersions  = 43
)

// recordHeader is the type, the version and the length of a record, in bytes.
const recordHeader = 5

// Chain are the certificates that the server sent, its own first; none when it
// came to none.
func (c *Capture) Chain() [][]byte {
	var messages cryptobyte.String // of the handshake, one behind the other
	var opened *opener             // nil while records are in clear text
	for records := cryptobyte.String(c.received); ; {
		var kind uint8
		var version uint16
		var body cryptobyte.String
		header := records
		if !records.ReadUint8(&kind) || !records.ReadUint16(&version) || !records.ReadUint16LengthPrefixed(&body) {
			return nil
		}
		if kind == recordData && opened != nil {
			kind, body = opened.open(header[:recordHeader], body)
		}
		switch kind {
		case recordHandshake:
			messages = append(messages, body...)
		case recordAlert, recordData:
			return nil
		}
		for {
			var id uint8
			var message cryptobyte.String
			rest := messages
			if !rest.ReadUint8(&id) || !rest.ReadUint24LengthPrefixed(&message) {
				break // the next record has more of it
			}
			messages = rest
			switch id {
			case messageServerHello:
				suite, newest := serverHello(message)
				if newest && c.secret != nil {
					opened = newOpener(suite, c.secret)
				}
			case messageCertificate:
				return presented(message, opened != nil)
			}
		}
	}
}

// serverHello is the suite that a server chose, and whether it is one of TLS 1.3.
func serverHello(m cryptobyte.String) (suite uint16, newest bool) {
	var session, extensions, value cryptobyte.String
	var compression uint8
	if !m.Skip(2+32) || !m.ReadUint8LengthPrefixed(&session) || !m.ReadUint16(&suite) || !m.ReadUint8(&compression) ||
		!m.ReadUint16LengthPrefixed(&extensions) {
		return suite, false
	}
	for !extensions.Empty() {
		var id, version uint16
		if !extensions.ReadUint16(&id) || !extensions.ReadUint16LengthPrefixed(&value) {
			return suite, false
		}
		if id == extensionVersions {
			return suite, value.ReadUint16(&version) && version == tls.VersionTLS13
		}
	}
	return suite, false
}

// presented are the certificates of a Certificate message (RFC 5246, section
// 7.4.2; RFC 8446, section 4.4.2).
func presented(m cryptobyte.String, newest bool) (chain [][]byte) {
	var context, list cryptobyte.String
	if newest && !m.ReadUint8LengthPrefixed(&context) || !m.ReadUint24LengthPrefixed(&list) {
		return nil
	}
	for !list.Empty() {
		var der, extensions cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) || newest && !list.ReadUint16LengthPrefixed(&extensions) {
			return nil
		}
		chain = append(chain, bytes.Clone(der))
	}
	return chain
}

// opener decrypts records of TLS 1.3 (RFC 8446, section 5.2).
type opener struct {
	aead     cipher.AEAD
	nonce    []byte
	sequence uint64
}

// newOpener is nil for a suite that does not exist.
func newOpener(suite uint16, secret []byte) *opener {
	digest, size := sha256.New, chacha20poly1305.KeySize
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		size = 16
	case tls.TLS_AES_256_GCM_SHA384:
		digest = sha512.New384
	}
	key, err := expand(digest, secret, "key", size)
	if err != nil {
		return nil
	}
	nonce, err := expand(digest, secret, "iv", chacha20poly1305.NonceSize)
	if err != nil {
		return nil
	}
	o := &opener{nonce: nonce}
	if suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		o.aead, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			o.aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		return nil
	}
	return o
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
func expand(digest func() hash.Hash, secret []byte, label string, size int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(size)) //nolint:gosec // G115: at most 32
	info = append(append(info, byte(len(label))), label...)  //nolint:gosec // G115: 9 at most
	return hkdf.Expand(digest, secret, string(append(info, 0)), size)
}

// open is the content of a record and its type; an alert when it is not one of
// the server's.
func (o *opener) open(header, body []byte) (kind uint8, content []byte) {
	nonce := bytes.Clone(o.nonce)
	at := nonce[len(nonce)-8:]
	binary.BigEndian.PutUint64(at, binary.BigEndian.Uint64(at)^o.sequence)
	o.sequence++
	plain, err := o.aead.Open(nil, nonce, body, header)
	plain = bytes.TrimRight(plain, "\x00")
	if err != nil || len(plain) == 0 {
		return recordAlert, nil
	}
	return plain[len(plain)-1], plain[:len(plain)-1]
}
