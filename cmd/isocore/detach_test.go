package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/isocore/isocore/config"
)

// What up says is where the node answers: with the scheme of each door, and
// with what the example application has to be told where a port is another.
func TestWhereabouts(t *testing.T) {
	shown := config.TLS{Cert: config.File{Path: "tls.crt"}}
	usual := map[string]string{"edge": "127.0.0.1:7080", "public": "127.0.0.1:7900", "postgres": "127.0.0.1:7432"}
	moved := map[string]string{"edge": "127.0.0.1:40080", "public": "127.0.0.1:40900", "postgres": "127.0.0.1:40432"}
	notes := func(addr string) *config.Edge {
		return &config.Edge{Routes: map[string]config.Route{"notes": {Upstream: config.Upstream{Addr: addr}}}}
	}
	listening := config.Listen{AddrPort: netip.MustParseAddrPort("127.0.0.1:7080")}
	for name, x := range map[string]struct {
		c         config.Config
		at        map[string]string
		want, not []string
	}{
		"usual": {
			config.Config{Brokers: config.Brokers{Edge: notes("127.0.0.1:7081")}},
			usual,
			[]string{"http://localhost:7080,", "http://127.0.0.1:7900/readyz", "127.0.0.1:7432, database app"},
			[]string{"usual ports", "https"},
		},
		"other ports": {
			config.Config{Brokers: config.Brokers{Edge: notes("127.0.0.1:40081")}},
			moved,
			[]string{"not the usual ports", "go run ./examples/notes --listen 127.0.0.1:40081 --jwks http://127.0.0.1:40900/.well-known/jwks.json --token-endpoint http://127.0.0.1:40900/v1/token --postgres 127.0.0.1:40432\n"},
			[]string{"https"},
		},
		"one other port": {
			config.Config{Brokers: config.Brokers{Edge: notes("127.0.0.1:7081")}},
			map[string]string{"edge": usual["edge"], "public": usual["public"], "postgres": moved["postgres"]},
			[]string{"go run ./examples/notes --postgres 127.0.0.1:40432\n"},
			[]string{"--listen", "--jwks"},
		},
		"TLS": {
			config.Config{Admin: config.Admin{TLS: shown}, Brokers: config.Brokers{Edge: &config.Edge{Listen: listening, TLS: shown}}},
			usual,
			[]string{"https://localhost:7080,", "https://127.0.0.1:7900/readyz", "--jwks https://127.0.0.1:7900/"},
			[]string{"http://"},
		},
		"no edge": {config.Config{}, usual, []string{"PostgreSQL"}, []string{"localhost"}},
	} {
		got := whereabouts(&x.c, x.at, "/state")
		for _, w := range x.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", name, w, got)
			}
		}
		for _, w := range x.not {
			if strings.Contains(got, w) {
				t.Errorf("%s: %q in\n%s", name, w, got)
			}
		}
	}
}
