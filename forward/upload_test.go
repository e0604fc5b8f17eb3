package forward_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/refusal"
)

// TestTurnedDown: an application that refuses an upload without reading it is
// heard, and a broken upload is not the application's fault.
func TestTurnedDown(t *testing.T) {
	const no = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nNONCE"
	server := play(t, func(c net.Conn, r *http.Request) bool {
		if r.URL.Path == "/no" {
			answer(c, r, no)
			io.Copy(io.Discard, c)
			return false
		}
		io.Copy(io.Discard, r.Body)
		return answer(c, r, good)
	})
	w := brokertest.New(t, "postgres", brokertest.Limits())
	s := session(t, w, w.A).Scope()
	u := upstream(t, "direct", server.Addr().String(), nil)
	for _, length := range []int64{1 << 40, -1} {
		r := request(t, "POST", "/no", "")
		r.Body, r.ContentLength = io.NopCloser(endless{}), length
		r.Header.Set("X-Nonce", "large")
		if got, err := body(u.Do(t.Context(), s, r)); got != "large" || err != nil {
			t.Errorf("%d: %q, %v", length, got, err)
		}
		r = request(t, "POST", "/", "x")
		r.Header.Set("X-Nonce", "nonce")
		if got, err := body(u.Do(t.Context(), s, r)); got != "nonce" || err != nil {
			t.Errorf("%d: the next: %q, %v", length, got, err)
		}
		for want, bad := range map[refusal.Reason]error{
			refusal.Malformed: errBoom, refusal.TooLarge: &http.MaxBytesError{Limit: 1}, refusal.TooFast: refusal.New(refusal.TooFast, "x"),
		} {
			r = request(t, "POST", "/", "")
			r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("begun"), broken{bad})), length
			if _, err := u.Do(t.Context(), s, r); refusal.Of(err) != want {
				t.Errorf("%v: %v", bad, err)
			}
		}
	}
	r := request(t, "POST", "/", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("short")), 6
	if _, err := u.Do(t.Context(), s, r); refusal.Of(err) != refusal.Malformed {
		t.Errorf("a short body: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{ error }

func (b broken) Read([]byte) (int, error) { return 0, b.error }
