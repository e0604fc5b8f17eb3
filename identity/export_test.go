package identity

// Cached returns how many tokens v remembers.
func (v *Verifier) Cached() int {
	n := 0
	for i := range v.cache.shards {
		s := &v.cache.shards[i]
		s.mu.Lock()
		n += len(s.young) + len(s.old)
		s.mu.Unlock()
	}
	return n
}

// Digest is what a token is remembered by.
func Digest(token string) [32]byte { return digest(token) }
