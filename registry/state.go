package registry

import (
	"errors"
	"fmt"

	"github.com/isocore/isocore/refusal"
)

// A State is how somebody stands. The zero State is no standing at all.
type State string

// A tenant goes active <-> suspended -> leaving -> gone, a partner as far as
// suspended, an issuer from active to gone. Who is not active is refused.
const (
	Active    State = "active"
	Suspended State = "suspended"
	Leaving   State = "leaving"
	Gone      State = "gone"
)

// moves are all that are allowed.
var moves = map[State][]State{
	Active:    {Suspended},
	Suspended: {Active, Leaving, Gone},
	Leaving:   {Gone},
}

// ErrTaken is the cause when a name is in use: a tenant's by another of the
// same partner, a partner's by anybody.
var ErrTaken = errors.New("the name is taken")

// A MoveError is the cause when there is no way from one state to another.
type MoveError struct{ From, To State }

func (e *MoveError) Error() string { return fmt.Sprintf("%s cannot become %s", e.From, e.To) }

func move(what string, from, to State) error {
	for _, s := range moves[from] {
		if s == to {
			return nil
		}
	}
	hint := ""
	if from == Active && to != Suspended {
		hint = "suspend it first"
	}
	return refusal.Hinted(refusal.Denied, hint, "registry: %s: %w", what, &MoveError{from, to})
}

func taken(what string) error {
	return refusal.Hinted(refusal.Denied, "the name is taken", "registry: %s: %w", what, ErrTaken)
}

func missing(what string) error { return refusal.New(refusal.NotFound, "registry: no %s", what) }
