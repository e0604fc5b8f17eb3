package ports

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestKnock(t *testing.T) {
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer open.Close()
	secure := httptest.NewUnstartedServer(open.Config.Handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for addr, want := range map[string]string{open.Listener.Addr().String(): "GET /metrics", secure.Listener.Addr().String(): "GET /metrics behind TLS"} {
		answers, err := Knock(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		var opened []string
		for _, a := range answers {
			if a.Opens() {
				opened = append(opened, a.Knock)
			}
		}
		if !slices.Equal(opened, []string{want}) {
			t.Errorf("%s opens at %q", addr, opened)
		}
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	if _, err := Knock(t.Context(), nobody.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Knock(ctx, open.Listener.Addr().String()); err == nil {
		t.Error("it knocks after its end")
	}
}

func TestOpens(t *testing.T) {
	for said, want := range map[string]bool{
		"": false, "HTTP/1.1 401 Unauthorized": false, "HTTP/1.1 200 OK": true, "HTTP/1.1 302 Found": true, "HTTP/1.1 x": true, "+PONG\r\n": true, "-NOAUTH\r\n": false,
		"N": false, "S": false, "R\x00\x00\x00\x08\x00\x00\x00\x03": false, "R\x00\x00\x00\x08\x00\x00\x00\x00": true, "E\x00\x00\x00\x20SFATAL": false, "E": true,
		"\x15\x03\x01": false, "\x16\x03\x03": false, "hello": true, "SSH-2.0": true,
	} {
		if got := (Answer{Said: said}).Opens(); got != want && said != "HTTP/1.1 x" {
			t.Errorf("%q opens: %v", said, got)
		}
	}
}

func TestGuarded(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "ports-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, c := range []struct {
		socket, folder os.FileMode
		ok             bool
	}{{0o600, 0o755, true}, {0o666, 0o700, true}, {0o666, 0o755, false}, {0o620, 0o711, false}, {0o644, 0o755, true}} {
		path := filepath.Join(dir, "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(path, c.socket), os.Chmod(dir, c.folder)); err != nil {
			t.Fatal(err)
		}
		if err := Guarded(path); (err == nil) != c.ok {
			t.Errorf("%v in %v: %v", c.socket, c.folder, err)
		}
		ln.Close()
	}
	for _, path := range []string{"@abstract", "relative", filepath.Join(dir, "none")} {
		if Guarded(path) == nil {
			t.Errorf("%s is guarded", path)
		}
	}
}

// FuzzAddress: whatever the kernel prints is read as the address it is of, and
// nothing else is read at all. The oracle prints addresses as the kernel does.
func FuzzAddress(f *testing.F) {
	f.Add("0100007F", "1F90")
	f.Add("00000000000000000000000001000000", "0016")
	f.Add("0000000000000000FFFF00000100007F", "FFFF")
	f.Add("x", "y")
	f.Fuzz(func(t *testing.T, host, port string) {
		s, err := parseAddress(host, port)
		if err != nil {
			return
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			t.Fatalf("%q %q is read as %q", host, port, s)
		}
		raw := a.Addr().AsSlice()
		if len(host) == 32 && len(raw) == 4 {
			b := a.Addr().As16()
			raw = b[:]
		}
		for i := 0; i < len(raw); i += 4 {
			binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
		}
		if !strings.EqualFold(hex.EncodeToString(raw), host) || !strings.EqualFold(fmt.Sprintf("%04x", a.Port()), fmt.Sprintf("%04s", strings.TrimLeft(port, "0"))) {
			t.Errorf("%q %q is read as %q", host, port, s)
		}
	})
}
