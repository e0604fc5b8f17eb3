package protect

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/isocore/isocore/secret"
)

const scramRounds = 4096

// verifier returns what the server stores of a password (RFC 5803), so that
// no statement text, and so no log, ever holds the password itself. Passwords
// are printable ASCII: nothing that SASLprep would change.
func verifier(password secret.Text) (string, error) {
	for _, c := range []byte(password.Reveal()) {
		if c < ' ' || c > '~' {
			return "", errors.New("protect: a password of printable ASCII is wanted")
		}
	}
	salt := make([]byte, 16)
	rand.Read(salt) //nolint:errcheck // crypto/rand never returns an error since Go 1.24
	return scram(password.Reveal(), salt)
}

func scram(password string, salt []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, scramRounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("protect: password: %w", err)
	}
	mac := func(label string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(label))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	enc := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramRounds, enc(salt), enc(stored[:]), enc(mac("Server Key"))), nil
}
