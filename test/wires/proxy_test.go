package wires

import (
	"bytes"
	"encoding/json"
	"net"
	"strconv"
	"sync"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
	"mailpoller/internal/mailtest"
)

// The two ways along a wire.
const (
	up   = "upstream"   // from the client to the server
	down = "downstream" // from the server to the client
)

// toxic is one thing that is wrong with a wire.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]any `json:"attributes"`
}

// cut ends the connection after some octets, and what is behind them is lost.
func cut(stream string, after int64) toxic {
	return toxic{"limit_data", stream, map[string]any{"bytes": after}}
}

// hang lets some octets pass, and none behind them.
func hang(stream string, after int64) toxic {
	return toxic{"hang", stream, map[string]any{"after": after}}
}

// proxy puts toxics between a client and a port of the host of every test, and
// returns the port for the client.
func proxy(t testing.TB, port int, wrong ...toxic) (int, []*toxics.ToxicWrapper) {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "wire", net.JoinHostPort(mailtest.Host, "0"), net.JoinHostPort(mailtest.Host, strconv.Itoa(port)))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	var added []*toxics.ToxicWrapper
	for _, w := range wrong {
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		wrapper, err := p.Toxics.AddToxicJson(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		added = append(added, wrapper)
	}
	_, text, err := net.SplitHostPort(p.Listen)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return listen, added
}

// hanging is the toxic of hang.
type hanging struct {
	After int64 `json:"after"`
}

// NewState makes what is kept of one connection: the octets that passed.
func (*hanging) NewState() any { return new(int64) }

// Pipe implements toxics.Toxic.
func (h *hanging) Pipe(stub *toxics.ToxicStub) {
	passed := stub.State.(*int64)
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			if chunk.Data = chunk.Data[:min(int64(len(chunk.Data)), h.After-*passed)]; len(chunk.Data) > 0 {
				*passed += int64(len(chunk.Data))
				stub.Output <- chunk
			}
		}
	}
}

// meter is a toxic that does no harm: it notes how many octets had passed when
// each piece of what is said was through.
type meter struct {
	mu    sync.Mutex
	marks []int64
}

// Pipe implements toxics.Toxic.
func (m *meter) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			m.mu.Lock()
			passed := int64(len(chunk.Data))
			if n := len(m.marks); n > 0 {
				passed += m.marks[n-1]
			}
			m.marks = append(m.marks, passed)
			m.mu.Unlock()
			stub.Output <- chunk
		}
	}
}

func (m *meter) read() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]int64{0}, m.marks...)
}
