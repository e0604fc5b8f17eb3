package audit

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/isocore/isocore/audit/segment"
)

// victim names the directory in which this test program is to write until it
// is killed.
const victim = "ISOCORE_AUDIT_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		fmt.Fprintln(os.Stderr, write(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write appends with 64 writers for ever and says on standard output what was
// acknowledged and signed, a line each, after it was.
func write(dir string) error {
	commit, err := segment.Open(filepath.Join(dir, "log"), 0)
	if err != nil {
		return err
	}
	l, err := Open(context.Background(), config(new(testing.T), dir, commit))
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, 64)
	for w := range 64 {
		wg.Go(func() { failed <- l.writer(w) })
	}
	wg.Wait()
	return <-failed
}

func (l *Log) writer(w int) error {
	ctx, log := context.Background(), id(byte(w%3))
	for i := 0; ; i++ {
		txn := fmt.Sprintf("%d/%d/%d", os.Getpid(), w, i)
		receipt, err := l.Append(statement(log, txn))
		if err != nil {
			return err
		}
		ref, err := receipt.Wait(ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Printf("acked %s %d %s\n", ref.Log, ref.Seq, txn); err != nil {
			return err
		}
		if i%10 != 0 {
			continue
		}
		signed, err := l.Checkpoint(ctx, log)
		if err != nil {
			return err
		}
		if _, err := fmt.Printf("signed %s\n", base64.StdEncoding.EncodeToString(signed)); err != nil {
			return err
		}
	}
}

// Killed 25 times in the middle of its work, the log has lost nothing that was
// acknowledged, and continues everything that was signed.
func TestKill(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	dir, acked, signed := t.TempDir(), make(map[Ref]string), [][]byte(nil)
	for round := range rounds {
		n := rand.IntN(500)
		signed = append(signed, kill(t, dir, n, acked)...)
		closeLog(t, openDir(t, dir))
		c := checkLog(t, dir)
		c.contains(t, acked)
		for _, s := range signed {
			c.checkpoint(t, s)
		}
		if len(acked) < n || len(signed) == 0 && round > 3 {
			t.Fatalf("%d acknowledged, %d signed", len(acked), len(signed))
		}
	}
	t.Logf("%d acknowledged, %d signed, none lost in %d rounds", len(acked), len(signed), rounds)
}

// kill runs a victim until it has acknowledged n records. It adds what was
// acknowledged to acked and returns what was signed.
func kill(t *testing.T, dir string, n int, acked map[Ref]string) (signed [][]byte) {
	t.Helper()
	c := exec.Command(os.Args[0]) // this program, see TestMain
	c.Env = append(os.Environ(), victim+"="+dir)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	for seen := 0; ; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // a line that is cut off was not said
		}
		if err != nil {
			t.Fatal(err)
		}
		word := strings.Fields(line)
		switch word[0] {
		case "acked":
			var ref Ref
			if _, err := fmt.Sscan(word[2], &ref.Seq); err != nil {
				t.Fatal(err)
			}
			if ref.Log, err = parseLog(word[1]); err != nil {
				t.Fatal(err)
			}
			if was, twice := acked[ref]; twice {
				t.Fatalf("%v was acknowledged for %s and for %s", ref, was, word[3])
			}
			acked[ref] = word[3]
			seen++
		case "signed":
			b, err := base64.StdEncoding.DecodeString(word[1])
			if err != nil {
				t.Fatal(err)
			}
			signed = append(signed, b)
		}
		if seen >= n {
			c.Process.Kill() //nolint:errcheck // it may be gone
		}
	}
	if err := c.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the victim was not killed: %v", err)
	}
	return signed
}
