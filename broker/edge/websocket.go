package edge

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
)

// closingTime is how long one side of a WebSocket may go on when the other has
// ended.
const closingTime = 5 * time.Second

// upgrade makes the connection a WebSocket, which ends with the token, with
// the node, or with either side.
func (x *exchange) upgrade(ctx context.Context, resp *http.Response) error {
	app, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return refusal.New(refusal.Internal, "edge: a WebSocket that cannot be written to")
	}
	conn, rw, err := x.control.Hijack()
	if err != nil {
		return refusal.New(refusal.Internal, "edge: %w", err)
	}
	defer conn.Close() //nolint:errcheck // it is over
	x.taken()
	client, err := h1.Upgraded(x.guarded, rw.Reader)
	if err != nil {
		return refusal.New(refusal.Malformed, "edge: %w", err)
	}
	if _, err := (brisk{client}).Write(x.switching(resp)); err != nil {
		return err
	}
	x.bind()
	defer context.AfterFunc(ctx, func() {
		client.Close() //nolint:errcheck // it is being cut
		app.Close()    //nolint:errcheck // as above
	})()
	x.pipe(client, app)
	return nil
}

// taken says that the connection is no server's to answer on any more.
func (x *exchange) taken() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begun = true
}

// switching returns the head that grants the upgrade.
func (x *exchange) switching(resp *http.Response) []byte {
	h := http.Header{}
	answered(h, resp.Header)
	delete(h, "Content-Length")
	h["Connection"], h["Upgrade"], h["X-Request-Id"] = []string{"Upgrade"}, []string{"websocket"}, []string{x.id}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := h.Write(&b); err != nil {
		return nil // a Buffer does not fail
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// pipe copies both ways until both sides have ended.
func (*exchange) pipe(client net.Conn, app io.ReadWriteCloser) {
	var sending sync.WaitGroup
	sending.Go(func() {
		_, err := io.Copy(app, client)
		if err != nil || !closeWrite(app) {
			app.Close() //nolint:errcheck // it is being destroyed
		}
	})
	_, err := io.Copy(brisk{client}, app)
	if err != nil || !closeWrite(client) || client.SetReadDeadline(time.Now().Add(closingTime)) != nil {
		client.Close() //nolint:errcheck // it is being destroyed
	}
	sending.Wait()
}

// closeWrite ends what is written to c, and reports whether it could.
func closeWrite(c any) bool {
	w, ok := c.(interface{ CloseWrite() error })
	return ok && w.CloseWrite() == nil
}

// brisk is a connection whose reader has to make progress.
type brisk struct{ net.Conn }

// Write implements [io.Writer].
func (b brisk) Write(p []byte) (int, error) {
	if err := b.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return b.Conn.Write(p)
}
