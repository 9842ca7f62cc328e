package mailbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// largeHello is from how many bytes on a ClientHello may take two packets. With a
// post-quantum key share it has about 1,500. Some servers, firewalls and load
// balancers wait for ever, or hang up, when it does not come in one.
const largeHello = 1200

// helloTimeout is how long a server may take to answer a smaller ClientHello.
const helloTimeout = 5 * time.Second

// smallerHellos are the ways to a ClientHello that fits into a packet, each by
// the setting that takes it, and about how many bytes it has then.
var smallerHellos = []struct {
	setting string
	bytes   int
	change  func(*tls.Config)
}{
	{
		"ssl_authentication_protocol: [TLSv1_2]", 230,
		func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
	},
	{
		"Environment=GODEBUG=tlsmlkem=0 in the unit", 290,
		func(c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
		},
	},
}

// unanswered makes an Error out of a handshake of which nothing came back. A
// connection test finds out whether a smaller ClientHello is answered.
func (w *wire) unanswered(ctx context.Context, err error, sent int) error {
	e := mail.AsError(w.tlsFailure(err), mail.OpTLS, mail.KindTLS)
	if sent < largeHello || e.Kind != mail.KindTimeout && e.Kind != mail.KindNetwork {
		return e
	}
	var ways, answered []string
	tried := w.c.Diagnose
	for _, smaller := range smallerHellos {
		ways = append(ways, fmt.Sprintf("%s makes it about %d", smaller.setting, smaller.bytes))
		if tried = tried && ctx.Err() == nil; tried && w.answers(ctx, smaller.change) {
			answered = append(answered, smaller.setting)
		}
	}
	switch {
	case len(answered) > 0:
		e.Hint = fmt.Sprintf("set %s: the server does not answer a ClientHello of %d bytes, but answers a smaller one", strings.Join(answered, ", or "), sent)
	case tried:
		e.Hint = "a smaller ClientHello is not answered either: " + e.Hint
	default:
		e.Hint = fmt.Sprintf("run `poller test %s`: it tries a smaller ClientHello than this one of %d bytes, which some firewalls and servers drop (%s); if that does not help, %s",
			w.c.Name, sent, strings.Join(ways, ", "), e.Hint)
	}
	return e
}

// errAnswered ends a trial: the handshake went well.
var errAnswered = errors.New("the server answers")

// answers makes a handshake on a connection of its own, up to the certificate.
func (w *wire) answers(ctx context.Context, change func(*tls.Config)) bool {
	w.close() // a server may let in one at a time
	c := *w.c
	c.Timeout = min(c.Timeout, helloTimeout)
	config := w.config.Clone()
	config.ClientSessionCache = nil
	change(config)
	trial := &wire{
		c: &c, secret: w.secret, secrets: w.secrets, proxy: w.proxy, config: config, trial: true,
		opener: &Opener{}, manners: &manners{}, trace: &mail.Trace{}, log: zap.NewNop(),
	}
	defer trial.close()
	_, err := trial.open(ctx, w.opener.Dial)
	return errors.Is(err, errAnswered)
}
