package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/isocore/isocore/internal/h1"
	"github.com/isocore/isocore/refusal"
)

// Bounds of a connection of HTTP/2, which is many requests at once.
const (
	streams      = 100
	streamBuffer = 64 << 10  // of a body that nobody has read
	connBuffer   = 256 << 10 // of all of them
)

// The protocols a client may choose in the TLS handshake.
const (
	protoH1 = "http/1.1"
	protoH2 = "h2"
)

// serveH2 serves HTTP/2 as net/http does. There is no guard: its frames have
// no second reading, and what its fields may hold beyond those of HTTP/1.1,
// [cleanStream] refuses.
func (v *visitor) serveH2(ctx context.Context, conn *tls.Conn, over *sole) error {
	server := v.server(ctx)
	server.MaxHeaderBytes = headBytes
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP2(true)
	server.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: streams, MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connBuffer,
		WriteByteTimeout: writeTime,
	}
	over.conn = conn
	late := time.AfterFunc(headTime, func() {
		if !v.begun.Load() {
			v.guest.Close() //nolint:errcheck // it has asked for nothing
		}
	})
	defer late.Stop()
	stop := context.AfterFunc(ctx, func() {
		done, cancel := context.WithCancel(ctx)
		cancel()
		server.Shutdown(done) //nolint:errcheck // it says that it does not wait
	})
	defer stop()
	return server.Serve(over)
}

// cleanStream is a value, as what examine asks, so that it can be weakened
// alone.
var cleanStream = checkStream

// checkStream refuses a request of HTTP/2 that would not be one, or another,
// as one of HTTP/1.1: so it goes on.
func checkStream(r *http.Request) error {
	malformed := func(what string) error { return refusal.New(refusal.Malformed, "edge: HTTP/2: %s", what) }
	if !h1.ValidRequest(r.Method, r.RequestURI) {
		return malformed("a method or a target that is not one")
	}
	if len(r.Header) > headFields {
		return refusal.New(refusal.TooLarge, "edge: HTTP/2: %d header fields", len(r.Header))
	}
	for name, values := range r.Header {
		for _, value := range values {
			if !h1.ValidField(name, value) {
				return malformed("a header field that would be read as another")
			}
		}
	}
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && hosts[0] != r.Host {
		return malformed("a Host beside another :authority")
	}
	if said := r.Header["Content-Length"]; len(said) > 1 || len(said) == 1 && said[0] != strconv.FormatInt(r.ContentLength, 10) {
		return malformed("a Content-Length that is not the body's")
	}
	return nil
}

// An ending is a connection whose end closes over.
type ending struct {
	net.Conn
	over *sole
}

// Close implements [net.Conn].
func (e ending) Close() error {
	defer e.over.end()
	return e.Conn.Close()
}
