package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mailtest"
)

// shake lets a client and a server shake hands, over a capture of the client's.
func shake(t *testing.T, server, client *tls.Config) (*certificate.Capture, *tls.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(wait.Wait)
	t.Cleanup(func() { l.Close() })
	wait.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if s := tls.Server(c, server); s.Handshake() == nil {
			_, _ = s.Write([]byte("ready"))
			_, _ = s.Read(make([]byte, 1)) // until the client is gone
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	capture := certificate.NewCapture(c, client)
	conn := tls.Client(capture, client)
	return capture, conn, conn.Handshake()
}

// TestACaptureHoldsWhatTheServerPresented, in every version, with every suite of
// TLS 1.3, and behind a HelloRetryRequest.
func TestACaptureHoldsWhatTheServerPresented(t *testing.T) {
	t.Parallel()
	chain := mailtest.NewCA(t).Server(t, "mail.test")
	for range 3 { // more than fits into one record of TLS
		chain.Certificate = append(chain.Certificate, mailtest.NewCA(t).Issue(t, &x509.Certificate{DNSNames: slices.Repeat([]string{strings.Repeat("x", 60)}, 150)}).Certificate[0])
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, again %t", tls.VersionName(version), again), func(t *testing.T) {
				t.Parallel()
				server := &tls.Config{Certificates: []tls.Certificate{chain}, MinVersion: version, MaxVersion: version, ClientAuth: tls.RequestClientCert}
				if again {
					server.CurvePreferences = []tls.CurveID{tls.CurveP521} // which no client offers a share of
				}
				capture, conn, err := shake(t, server, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10})
				if err != nil {
					t.Fatal(err)
				}
				if got := capture.Chain(); !slices.EqualFunc(got, chain.Certificate, slices.Equal) {
					t.Errorf("%d certificates of %d", len(got), len(chain.Certificate))
				}
				capture.Stop()
				if got := capture.Chain(); got != nil {
					t.Error("what was captured is not forgotten")
				}
				said := make([]byte, 5)
				if _, err := io.ReadFull(conn, said); err != nil || string(said) != "ready" {
					t.Errorf("%q, %v", said, err)
				}
			})
		}
	}
}

// TestWhatIsRefusedIsCaptured is what a capture is for.
func TestWhatIsRefusedIsCaptured(t *testing.T) {
	t.Parallel()
	for _, odd := range mailtest.OddCertificates(t) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(odd.Name+", "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				server := &tls.Config{Certificates: []tls.Certificate{odd.Certificate}, MinVersion: version, MaxVersion: version}
				capture, _, err := shake(t, server, &tls.Config{InsecureSkipVerify: true})
				if err == nil || !strings.Contains(err.Error(), odd.Reason) {
					t.Fatalf("the handshake came to %v, not %q", err, odd.Reason)
				}
				if got := capture.Chain(); len(got) != 1 || string(got[0]) != string(odd.Certificate.Certificate[0]) {
					t.Errorf("captured %x", got)
				}
				if reason := certificate.Refused(err); !strings.Contains(reason, odd.Reason) || strings.Contains(reason, "tls:") {
					t.Errorf("%v is not known as a refused certificate: %q", err, reason)
				}
			})
		}
	}
}

// TestAResumedHandshakePresentsNothing.
func TestAResumedHandshakePresentsNothing(t *testing.T) {
	t.Parallel()
	server := mailtest.NewCA(t).ServerTLS(t, "mail.test")
	client := &tls.Config{InsecureSkipVerify: true, ServerName: "mail.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client.MaxVersion = version
		for _, resumed := range []bool{false, true} {
			capture, conn, err := shake(t, server, client)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 5)); err != nil { // and the ticket with it
				t.Fatal(err)
			}
			if got := len(capture.Chain()); conn.ConnectionState().DidResume != resumed || (got == 0) != resumed {
				t.Errorf("%s: resumed %t, %d certificates", tls.VersionName(version), resumed, got)
			}
		}
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
}

// flood is a connection that brings the same bytes for ever.
type flood struct {
	net.Conn
	bytes []byte
}

func (f flood) Read(p []byte) (int, error) { return copy(p, f.bytes), nil }

// FuzzCapture: whatever a server sends is read to its end.
func FuzzCapture(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 4, 11, 0, 0, 0})
	f.Add([]byte{22, 3, 3, 0, 8, 2, 0, 0, 0, 11, 0, 0, 0})
	f.Add([]byte{23, 3, 3, 0, 1, 0})
	f.Fuzz(func(_ *testing.T, sent []byte) {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		capture := certificate.NewCapture(flood{bytes: sent}, config)
		_, _ = fmt.Fprintf(config.KeyLogWriter, "SERVER_HANDSHAKE_TRAFFIC_SECRET 00 %064x\n", 1)
		_, _ = capture.Read(make([]byte, 1<<10))
		_ = capture.Chain()
	})
}
