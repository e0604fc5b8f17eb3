package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// floors are the majors that are supported, each with the oldest minor: earlier
// ones show statistics of rows that row security hides (CVE-2025-8713).
var floors = map[int]int{15: 14, 16: 10, 17: 6, 18: 0}

// majors returns the supported majors, oldest first.
func majors() []int {
	return slices.Sorted(maps.Keys(floors))
}

// floorWords says in words what is needed.
func floorWords() string {
	var words []string
	for _, m := range majors() {
		words = append(words, fmt.Sprintf("%d.%d", m, floors[m]))
	}
	return "PostgreSQL " + strings.Join(words, ", ") + " or a later minor of these"
}

// ErrNoBinaries is in the chain of every error that says that there is no
// usable PostgreSQL on this machine.
var ErrNoBinaries = errors.New("no usable PostgreSQL binaries")

// Binaries are a PostgreSQL of a supported version on this machine.
type Binaries struct {
	Dir          string // holds initdb and postgres
	Major, Minor int
}

func (b Binaries) String() string {
	return fmt.Sprintf("PostgreSQL %d.%d in %s", b.Major, b.Minor, b.Dir)
}

// Find returns the newest supported PostgreSQL in dir or, if that is "", in the
// folder of the first postgres in PATH and in Debian's places. If major is not
// 0, only that major will do: a data directory belongs to one.
func Find(ctx context.Context, dir string, major int) (Binaries, error) {
	dirs := []string{dir}
	if dir == "" {
		dirs = places()
	}
	var best Binaries
	errs := []error{fmt.Errorf("local: %w: needs %s", ErrNoBinaries, floorWords())}
	for _, d := range dirs {
		b, err := examine(ctx, d)
		switch {
		case err != nil:
			errs = append(errs, err)
		case major != 0 && b.Major != major:
			errs = append(errs, fmt.Errorf("local: %v, but the data directory is of %d", b, major))
		case b.Major > best.Major || b.Major == best.Major && b.Minor > best.Minor:
			best = b
		}
	}
	if best.Dir == "" {
		return Binaries{}, errors.Join(errs...)
	}
	return best, nil
}

// places returns the folders that may hold binaries.
func places() []string {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for _, d := range debian {
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// examine asks the binaries in dir for their version.
func examine(ctx context.Context, dir string) (Binaries, error) {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return Binaries{}, fmt.Errorf("local: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Env = storeEnv
	out, err := cmd.Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("local: %s --version: %w", cmd.Path, err)
	}
	major, minor, err := parseVersion(string(out))
	if err != nil {
		return Binaries{}, fmt.Errorf("local: %s: %w", cmd.Path, err)
	}
	b := Binaries{dir, major, minor}
	if floor, ok := floors[major]; !ok || minor < floor {
		return Binaries{}, fmt.Errorf("local: %v is not supported", b)
	}
	return b, nil
}

// parseVersion reads what `postgres --version` prints, with whatever a
// distribution appends: "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func parseVersion(s string) (major, minor int, err error) {
	rest, found := strings.CutPrefix(strings.TrimSpace(s), "postgres (PostgreSQL) ")
	if !found {
		return 0, 0, fmt.Errorf("%.80q is not the version of a PostgreSQL", s)
	}
	version, _, _ := strings.Cut(rest, " ")
	before, after, found := strings.Cut(version, ".")
	if !found {
		return 0, 0, fmt.Errorf("%.80q is not a released version", version)
	}
	ma, err1 := strconv.ParseUint(before, 10, 8)
	mi, err2 := strconv.ParseUint(after, 10, 8)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%.80q is not a released version", version)
	}
	return int(ma), int(mi), nil
}

// dataMajor returns the major version that the data directory belongs to, 0 if
// there is none yet.
func dataMajor(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("local: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("local: %s/PG_VERSION: %w", data, err)
	}
	return n, nil
}
