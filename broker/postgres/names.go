package postgres

import "slices"

// names is what a client calls its statements or portals. A name means what
// the store confirmed; within a group, whose messages the store has not
// answered yet, it means what it will once they succeed: if one fails, the
// store skips the rest of the group as well.
type names struct {
	known   map[string]*prepared
	latest  map[string]*prepared // as pending leaves them; nil: forgotten
	pending []naming
}

// A naming is one change of a name that is not confirmed.
type naming struct {
	name string
	to   *prepared // nil: forgotten
	done *bool     // set by the answer
}

// maxNames bounds the statements, and the portals, of one connection.
const maxNames = 4096

// find returns what name means, or nil.
func (n *names) find(name string) *prepared {
	if p, ok := n.latest[name]; ok {
		return p
	}
	return n.known[name]
}

// set gives name a meaning as soon as the answer sets the returned flag.
func (n *names) set(name string, to *prepared) *bool {
	if n.latest == nil {
		n.latest = make(map[string]*prepared)
	}
	done := new(bool)
	n.latest[name] = to
	n.pending = append(n.pending, naming{name, to, done})
	return done
}

// forget takes a name away without asking: what it meant is gone at the store.
func (n *names) forget(name string) {
	if n.find(name) != nil {
		*n.set(name, nil) = true
	}
}

// forgetAll is forget for every name.
func (n *names) forgetAll() {
	for _, name := range n.all() {
		n.forget(name)
	}
	n.forget("")
}

// settle makes what the answers confirmed known.
func (n *names) settle() {
	if n.known == nil {
		n.known = make(map[string]*prepared)
	}
	for _, c := range n.pending {
		switch {
		case !*c.done:
		case c.to == nil:
			delete(n.known, c.name)
		default:
			n.known[c.name] = c.to
		}
	}
	n.pending, n.latest = nil, nil
}

// full reports whether another name would be too many.
func (n *names) full() bool { return len(n.known)+len(n.latest) >= maxNames }

// clear forgets every name.
func (n *names) clear() {
	clear(n.known)
	n.pending, n.latest = nil, nil
}

// all returns every name but the empty one, sorted.
func (n *names) all() []string {
	var all []string
	for _, m := range []map[string]*prepared{n.known, n.latest} {
		for name := range m {
			if name != "" && n.find(name) != nil {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
