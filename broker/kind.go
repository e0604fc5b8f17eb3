package broker

import (
	"context"
	"log/slog"
	"net"

	"github.com/isocore/isocore/scope"
)

// A Broker speaks one store's protocol on both sides.
type Broker interface {
	// Rows returns the broker's posture.
	Rows() []scope.Row
	// Serve answers the connections of ln until ctx is done, then waits for
	// those in progress. It owns ln.
	Serve(ctx context.Context, ln net.Listener, g *Gate) error
}

// A Kind is how a broker enters the program: adding a store is one folder.
type Kind struct {
	Name string
	// New makes the broker from its section of the configuration, which
	// decode reads into a documented struct, strictly.
	New func(decode func(into any) error, log *slog.Logger) (Broker, error)
}
