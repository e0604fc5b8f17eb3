package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/isocore/isocore/secret"
)

// keyFiles are the keys of an installation, each 32 random bytes in
// keys/<name>.key: what wraps the tenants' keys, the Ed25519 seeds that sign
// tokens and checkpoints, and the administrators' key.
var keyFiles = []string{"kek", "mint", "checkpoint", "admin"}

// keySize is the length of a key file.
const keySize = 32

// KeyFile returns the path of a key: kek, mint, checkpoint or admin.
func (d *Dir) KeyFile(name string) string { return d.Path("keys", name+".key") }

// makeKey draws a key that is not there yet.
func (d *Dir) makeKey(name string) error {
	if _, err := os.Lstat(d.KeyFile(name)); err == nil {
		return nil
	}
	var b [keySize]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	return d.replace("keys/"+name+".key", b[:])
}

// checkKey wants a key to be there: a new one in its place would open nothing
// that the lost one closed.
func (d *Dir) checkKey(name string) error {
	info, err := os.Lstat(d.KeyFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local: %s is gone; hint: restore it from a backup: what it protects cannot be read without it", d.KeyFile(name))
	}
	if err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if info.Size() != keySize {
		return fmt.Errorf("local: %s has %d bytes, not %d", d.KeyFile(name), info.Size(), keySize)
	}
	return nil
}

// PasswordFile returns the path of a password of the store, keys/<name>.password.
func (d *Dir) PasswordFile(name string) string { return d.Path("keys", name+".password") }

// Password returns the password kept under name, drawing it at the first use.
func (d *Dir) Password(name string) (secret.Text, error) {
	path := d.PasswordFile(name)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = []byte(rand.Text() + "\n")
		err = d.replace("keys/"+name+".password", b)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("local: %w", err)
	}
	s := strings.TrimSpace(string(b))
	if len(s) < 20 {
		return secret.Text{}, fmt.Errorf("local: %s holds no password", path)
	}
	return secret.New(s), checkMode(path, 0o600, uint32(os.Geteuid()))
}

// WriteSecret replaces keys/<name>, a secret that is derived from others and
// may be written again at each start.
func (d *Dir) WriteSecret(name string, s secret.Text) error {
	return d.replace("keys/"+name, []byte(s.Reveal()+"\n"))
}
