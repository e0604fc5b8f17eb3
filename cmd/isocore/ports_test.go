package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/prove"
)

// A stage is a deployment that this process is, with one door that refuses
// everybody.
type stage struct {
	*testing.T
	*deployment
	dir string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("missing: /proc")
	}
	dir, err := os.MkdirTemp("/tmp", "ports-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &stage{t, &deployment{socket: filepath.Join(dir, "admin.sock")}, dir}
	s.listen("unix", s.socket)
	s.chmod(s.socket, 0o600)
	s.doors = map[string]string{"edge": s.answers(http.StatusForbidden)}
	return s
}

// listen listens until the end of the test, and says nothing to anybody.
func (s *stage) listen(network, addr string) net.Listener {
	s.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { ln.Close() })
	return ln
}

func (s *stage) chmod(path string, mode os.FileMode) {
	s.Helper()
	if err := os.Chmod(path, mode); err != nil {
		s.Fatal(err)
	}
}

// answers returns where every request is answered with a status.
func (s *stage) answers(status int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	s.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// finds runs the named probe, and wants it to find; or all, and wants none to.
func (s *stage) finds(name, word string) {
	s.Helper()
	want := prove.Found
	if name == "" {
		want = prove.Held
	}
	r := prove.Run(s.Context(), &prove.Target{}, chosen(portProbes(s.deployment), name), prove.Options{})
	for _, o := range r.Outcomes {
		if o.Status != want || want == prove.Found && !strings.Contains(o.Why+o.Finding.Evidence, word) {
			s.Errorf("%s: %v: %s", o.Probe, o.Status, o.Why)
		}
	}
}

// The probes of ports see whatever of a deployment should not be there, and
// nothing in one that is as it should be.
func TestPortProbes(t *testing.T) {
	for name, c := range map[string]struct {
		probe, word string
		spoil       func(*stage)
	}{
		"nothing": {"", "", func(*stage) {}},
		"a port nobody named": {"every port is a door", "no door's", func(s *stage) {
			s.answers(http.StatusForbidden)
		}},
		"a door that lets in": {"nobody is told anything", "200 OK", func(s *stage) {
			s.doors["console"] = s.answers(http.StatusOK)
		}},
		"a document at the public door": {"", "", func(s *stage) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != admin.JWKSPath {
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			s.Cleanup(server.Close)
			s.doors[publicDoor] = server.Listener.Addr().String()
		}},
		"a socket for everybody": {"unix sockets", "open", func(s *stage) {
			path := filepath.Join(s.dir, "s")
			s.listen("unix", path)
			s.chmod(path, 0o777)
			s.chmod(s.dir, 0o755)
		}},
		"a socket for everybody in a folder of one's own": {"", "", func(s *stage) {
			path := filepath.Join(s.dir, "s")
			s.listen("unix", path)
			s.chmod(path, 0o777)
		}},
		"datagrams": {"datagrams", "udp", func(s *stage) {
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				s.Fatal(err)
			}
			s.Cleanup(func() { c.Close() })
		}},
		"an application that answers nobody": {"", "", func(s *stage) {
			at := s.answers(http.StatusUnauthorized)
			s.doors["none"] = at
			s.routes = []admin.Route{{Name: "app", Upstream: "http://" + at}, {Name: "far", Upstream: "https://192.0.2.1"}, {Name: "off", Upstream: "http://127.0.0.1:1"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			c.spoil(s)
			s.finds(c.probe, c.word)
		})
	}
}

// An application that answers whoever comes is found, though it is no process
// of the deployment's.
func TestUpstreamThatAnswers(t *testing.T) {
	s := newStage(t)
	s.routes = []admin.Route{{Name: "app", Upstream: "http://" + s.answers(http.StatusOK)}}
	f, err := s.upstreams(t.Context())
	if err != nil || f == nil || !strings.Contains(f.Got, "application app") {
		t.Errorf("%+v, %v", f, err)
	}
}
