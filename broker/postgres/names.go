package postgres

import (
	"slices"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
)

// names is what a client calls its statements or portals. A name means what
// the store confirmed; within a group, whose messages the store has not
// answered yet, it means what it will once they succeed: if one fails, the
// store skips the rest of the group as well.
type names struct {
	known   map[string]*prepared
	latest  map[string]int // the last of pending for a name
	pending []naming
	kept    int // bytes of what has a name
	unnamed int // bytes of what has none
}

// A naming is one change of a name that is not confirmed.
type naming struct {
	name string
	to   *prepared // nil: forgotten
	done *bool     // set by the answer
	prev int       // the change before it, or none
	shed bool      // what it and those before it meant was let go of
}

// Bounds of the names of one connection.
const (
	// maxNames is how many statements, and how many portals, there may be.
	maxNames = 4096
	// maxKept is how many bytes they may take, texts and parameters.
	maxKept = 16 << 20
	// maxNameLen is how much of a name the server looks at: two that agree in
	// it are one name there, and must not be two here.
	maxNameLen = 63
)

// find returns what name means, or nil.
func (n *names) find(name string) *prepared {
	if i, ok := n.latest[name]; ok {
		return n.pending[i].to
	}
	return n.known[name]
}

// set gives name a meaning as soon as the answer sets the returned flag.
func (n *names) set(name string, to *prepared) *bool {
	if n.latest == nil {
		n.latest = make(map[string]int)
	}
	prev, ok := n.latest[name]
	if !ok {
		prev = none
	}
	done := new(bool)
	n.latest[name] = len(n.pending)
	n.pending = append(n.pending, naming{name: name, to: to, done: done, prev: prev})
	n.count(name, to.size())
	if name == "" && n.unnamed > maxKept {
		n.shed(name)
	}
	return done
}

// count notes that what name means takes so many bytes more.
func (n *names) count(name string, bytes int) {
	if name == "" {
		n.unnamed += bytes
		return
	}
	n.kept += bytes
}

// shed lets go of what name meant before its last change. If that one fails,
// the name is forgotten, though the store may know it.
func (n *names) shed(name string) {
	for i := n.pending[n.latest[name]].prev; i != none && !n.pending[i].shed; i = n.pending[i].prev {
		c := &n.pending[i]
		n.count(name, -c.to.size())
		c.to, c.shed = nil, true
	}
	n.count(name, -n.known[name].size())
	delete(n.known, name)
}

// forget takes a name away without asking: what it meant is gone at the store.
func (n *names) forget(name string) {
	if n.find(name) != nil {
		*n.set(name, nil) = true
		n.shed(name)
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
		if !*c.done {
			n.count(c.name, -c.to.size())
			continue
		}
		n.count(c.name, -n.known[c.name].size())
		if n.known[c.name] = c.to; c.to == nil {
			delete(n.known, c.name)
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
	n.kept, n.unnamed = 0, 0
}

// all returns every name but the empty one, sorted.
func (n *names) all() []string {
	var all []string
	for name := range n.known {
		all = append(all, name)
	}
	for name := range n.latest {
		all = append(all, name)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return name == "" || n.find(name) == nil })
	slices.Sort(all)
	return slices.Compact(all)
}

// named reports whether the names of m can be told apart as the server does,
// and makes the group fail where not.
func (b *builder) named(m pgwire.FrontendMessage) bool {
	var given []string
	switch m := m.(type) {
	case *pgwire.Parse:
		given = []string{m.Name}
	case *pgwire.Bind:
		given = []string{m.Statement, m.Portal}
	case *pgwire.Describe:
		given = []string{m.Name}
	case *pgwire.Close:
		given = []string{m.Name}
	case *pgwire.Execute:
		given = []string{m.Portal}
	}
	for _, name := range given {
		if len(name) > maxNameLen {
			b.fail(longName())
			return false
		}
	}
	return true
}

// room reports whether p may be kept as name, besides what has a name already.
// What has none replaces itself, and is bounded by its message.
func (b *builder) room(n *names, name string, p *prepared) *fault {
	switch {
	case name == "":
		return nil
	case n.full():
		return tooManyStatements()
	case b.statements.kept+b.portals.kept+p.size() > maxKept:
		return tooMuchKept()
	default:
		return nil
	}
}

func longName() *fault {
	return &fault{code: "42622", message: "identifier too long", hint: "names of statements and portals have 63 bytes at most"}
}

func tooMuchKept() *fault {
	return &fault{code: states[refusal.TooLarge], message: refusal.TooLarge.Text(), hint: "close prepared statements and portals"}
}

// dropped notes that p, which was sent, ends portals at the server, or gives a
// cursor the name of one. What is forgotten too much cannot be run, and that
// is all.
func (b *builder) dropped(p *prepared) {
	switch {
	case commits(p.row), rollsBack(p.row), p.row == rowRollbackTo:
		b.portals.forgetAll()
	case p.row != rowClose && p.row != rowDeclare:
	case p.class.Name == "":
		b.portals.forgetAll()
	default:
		b.portals.forget(p.class.Name)
	}
}
