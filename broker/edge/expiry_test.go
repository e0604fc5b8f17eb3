package edge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/secret"
)

// expiry returns when a token is over.
func expiry(t *testing.T, token secret.Text) time.Time {
	t.Helper()
	var said struct{ Exp int64 }
	part := strings.Split(token.Reveal(), ".")[1]
	if b, err := base64.RawURLEncoding.DecodeString(part); err != nil || json.Unmarshal(b, &said) != nil {
		t.Fatal(err)
	}
	return time.Unix(said.Exp, 0)
}

// dripping is a body that has a byte a second, and no end.
type dripping struct{ ctx context.Context }

func (d dripping) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		return copy(p, "x"), nil
	case <-d.ctx.Done():
		return 0, context.Cause(d.ctx)
	}
}

// TestNothingOutlivesItsToken: an answer whose length nobody knows ends with
// the token, whatever it is called; all else has a minute more.
func TestNothingOutlivesItsToken(t *testing.T) {
	drip := func(kind string, length int64) quick {
		return func(ctx context.Context, _ *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 200, Header: http.Header{"Content-Type": {kind}}, ContentLength: length, Body: io.NopCloser(dripping{ctx}),
			}, nil
		}
	}
	for name, c := range map[string]struct {
		app   quick
		grace time.Duration
	}{
		"events":      {drip("text/event-stream", -1), 0},
		"lines":       {drip("application/x-ndjson", -1), 0},
		"unnamed":     {drip("", -1), 0},
		"of a length": {drip("text/plain", 1<<30), afterExpiry},
		"no head": {func(ctx context.Context, _ *http.Request) (*http.Response, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}, afterExpiry},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, c.app)
			token := b.Token(b.A)
			w := b.dial(t, local, token)
			w.SetDeadline(expiry(t, token).Add(time.Hour)) //nolint:errcheck // a test that hangs fails
			w.send(w.head("GET", "app.test", "/") + "\r\n")
			w.answer("GET") //nolint:errcheck // when it ends is what is asked
			if over := time.Since(expiry(t, token)); over < c.grace-time.Second || over > c.grace+5*time.Second {
				t.Errorf("%s: it ends %v after the token", name, over)
			}
			b.abandoned(t, name)
		})
	}
}

// abandoned looks for a request of A that came to nothing.
func (b *bubble) abandoned(t *testing.T, name string) {
	t.Helper()
	time.Sleep(time.Second) // the trail takes records in batches
	synctest.Wait()
	for _, r := range b.Records(t, b.A) {
		if r.Kind == audit.Outcome && r.Result.Status == audit.StatusAbandoned {
			return
		}
	}
	t.Errorf("%s: it is not over", name)
}

// TestNoBodyOutlivesItsToken: of a request that is still being sent, too.
func TestNoBodyOutlivesItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, func(_ context.Context, r *http.Request) (*http.Response, error) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return nil, err
			}
			return answerOf("whole"), nil
		})
		token := b.Token(b.A)
		w := b.dial(t, local, token)
		go func() {
			if _, err := io.WriteString(w, w.head("POST", "app.test", "/")+"Content-Length: 8388608\r\n\r\n"); err != nil {
				return
			}
			part := strings.Repeat("x", 2*bodyRate)
			for { // as fast as it has to be
				if _, err := io.WriteString(w, part); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		resp, _, err := w.answer("POST")
		if err != nil || resp.StatusCode != http.StatusUnauthorized || !resp.Close {
			t.Errorf("%+v, %v", resp, err)
		}
		if over := time.Since(expiry(t, token)); over < afterExpiry-time.Second || over > afterExpiry+5*time.Second {
			t.Errorf("it ends %v after the token", over)
		}
	})
}
