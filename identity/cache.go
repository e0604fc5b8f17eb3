package identity

import (
	"crypto/sha256"
	"sync"
)

const (
	minCache = 64
	maxCache = 1 << 20
	shards   = 16
)

// A cache remembers tokens whose signature was good, by their SHA-256: the
// token itself is not kept. It holds at most as many as it was made for. What
// was not asked for while as many new ones came goes first.
type cache struct {
	shards [shards]shard
	limit  int // of a generation of a shard
}

type shard struct {
	mu         sync.Mutex // guards what follows
	young, old map[[sha256.Size]byte]*verified
}

func newCache(size int) *cache {
	c := &cache{limit: size / (2 * shards)}
	for i := range c.shards {
		c.shards[i].young = make(map[[sha256.Size]byte]*verified)
		c.shards[i].old = make(map[[sha256.Size]byte]*verified)
	}
	return c
}

func (c *cache) get(id [sha256.Size]byte) *verified {
	s := &c.shards[id[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.young[id]; f != nil {
		return f
	}
	f := s.old[id]
	if f != nil {
		s.put(id, f, c.limit)
	}
	return f
}

func (c *cache) put(id [sha256.Size]byte, f *verified) {
	s := &c.shards[id[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(id, f, c.limit)
}

func (s *shard) put(id [sha256.Size]byte, f *verified, limit int) {
	if len(s.young) >= limit {
		clear(s.old)
		s.young, s.old = s.old, s.young
	}
	s.young[id] = f
}

// digest is SHA-256 of a token. Most tokens fit the array, which is on the
// stack: to be recognized costs no memory.
func digest(token string) [sha256.Size]byte {
	var most [1536]byte
	if n := copy(most[:], token); n == len(token) {
		return sha256.Sum256(most[:n])
	}
	return sha256.Sum256([]byte(token))
}
