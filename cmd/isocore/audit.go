package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/audit/view"
	"github.com/isocore/isocore/tenant"
)

func newAudit(o *options) *cobra.Command {
	return group("audit", "Read, export and verify the audit trail", auditTail(o), auditExport(o), auditVerify(o), auditPin(o))
}

func auditTail(o *options) *cobra.Command {
	var name string
	var follow bool
	var last uint64
	c := &cobra.Command{
		Use: "tail [--tenant NAME]", Short: "Print the last records of a tenant's log, or of the operator's", Args: cobra.NoArgs,
		Long: "Print the last records of a tenant's log, or of the operator's own.\nThe log of a tenant that is gone is found by its id: isocore tenant list --state gone.",
	}
	c.Flags().StringVar(&name, "tenant", "", "whose log: NAME, PARTNER/NAME or an id; the operator's own unless said")
	o.completeTenants(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as records come")
	c.Flags().Uint64VarP(&last, "last", "n", 20, "how many")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkLog(name); err != nil {
			return err
		}
		n, err := o.connect()
		if err != nil {
			return err
		}
		q := url.Values{"tenant": {name}, "follow": {strconv.FormatBool(follow)}, "last": {strconv.FormatUint(last, 10)}}
		b, err := n.stream(cmd.Context(), http.MethodGet, "/v1/audit/records?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		defer b.Close() //nolint:errcheck // it was read
		err = o.printRecords(cmd.OutOrStdout(), json.NewDecoder(b))
		if follow && cmd.Context().Err() != nil {
			return nil // interrupted: that is how one stops following
		}
		return err
	}
	return c
}

// checkLog makes what cannot name a log a misuse.
func checkLog(name string) error {
	if _, err := tenant.Parse(name); err == nil || name == "" {
		return nil
	}
	_, err := tenantURL(name)
	return err
}

// printRecords prints records as they come.
func (o *options) printRecords(w io.Writer, in *json.Decoder) error {
	for {
		var v view.Record
		if err := in.Decode(&v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := o.printRecord(w, v); err != nil {
			return err
		}
	}
}

func (o *options) printRecord(w io.Writer, v view.Record) error {
	if o.json {
		return json.NewEncoder(w).Encode(v)
	}
	_, err := fmt.Fprintln(w, v.Line())
	return err
}

// An export is what isocore audit export is asked for.
type export struct {
	admin.ExportRequest
	out, since, until, previous string
}

func auditExport(o *options) *cobra.Command {
	x := &export{}
	c := &cobra.Command{Use: "export --out FILE [--tenant NAME]", Short: "Write a log, or a window of it, with its proof into one file", Args: cobra.NoArgs}
	f := c.Flags()
	f.StringVar(&x.out, "out", "", "the file")
	f.StringVar(&x.Tenant, "tenant", "", "whose log: NAME, PARTNER/NAME or an id; the operator's own unless said")
	f.StringVar(&x.since, "from", "", "records from then on (RFC 3339)")
	f.StringVar(&x.until, "to", "", "records before then (RFC 3339)")
	f.StringVar(&x.KeyFor, "key-for", "", "seal the keys of the records to this recipient: age1...")
	f.StringVar(&x.previous, "previous", "", "a pin of isocore audit pin: prove that this continues it")
	c.MarkFlagRequired("out") //nolint:errcheck // the flag is there
	o.completeTenants(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(x.parse(), o.free(x.out)); err != nil {
			return err
		}
		n, err := o.connect()
		if err != nil {
			return err
		}
		b, err := n.stream(cmd.Context(), http.MethodPost, "/v1/audit/exports", x.ExportRequest)
		if err != nil {
			return err
		}
		defer b.Close() //nolint:errcheck // it was read
		size, err := save(x.out, b)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), map[string]any{"file": x.out, "bytes": size})
		}
		o.step("%s: %d bytes; verify it with: isocore audit verify %s", x.out, size, shellQuote(x.out))
		return nil
	}
	return c
}

// parse reads what the flags say, all of it.
func (x *export) parse() (err error) {
	errs := []error{checkLog(x.Tenant), checkRecipient(x.KeyFor)}
	x.Since, err = parseTime(x.since)
	errs = append(errs, err)
	x.Until, err = parseTime(x.until)
	errs = append(errs, err)
	if x.previous != "" {
		var head trail.Head
		head, err = readPin(x.previous)
		x.Previous = head.String()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func parseTime(s string) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, &misuse{err}
	}
	return &t, nil
}

func checkRecipient(to string) error {
	if to == "" {
		return nil
	}
	if _, err := age.ParseX25519Recipient(to); err != nil {
		return &misuse{fmt.Errorf("--key-for: %w", err)}
	}
	return nil
}

// A verification is what the verifying commands take.
type verification struct{ policy, pin, identity string }

func (v *verification) flags(c *cobra.Command) {
	c.Flags().StringVar(&v.policy, "policy", "", "file that says whose signatures count; the bundle's own word unless said")
	c.Flags().StringVar(&v.identity, "identity", "", "file with the age identity the keys are sealed to")
}

// verify verifies the bundle at path, offline.
func (v *verification) verify(path string) (*bundle.Report, func() error, error) {
	var x bundle.Options
	if v.policy != "" {
		b, err := os.ReadFile(v.policy)
		if err != nil {
			return nil, nil, err
		}
		if x.Policy, err = bundle.ParsePolicy(string(b)); err != nil {
			return nil, nil, err
		}
	}
	if v.pin != "" {
		head, err := readPin(v.pin)
		if err != nil {
			return nil, nil, err
		}
		x.Pin = &head
	}
	if v.identity != "" {
		f, err := os.Open(v.identity)
		if err != nil {
			return nil, nil, err
		}
		ids, err := age.ParseIdentities(bufio.NewReader(f))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, nil, err
		}
		x.Identity = ids[0]
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	report, err := bundle.Verify(f, info.Size(), x)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s does not verify: %w", path, err), f.Close())
	}
	return report, f.Close, nil
}

func auditVerify(o *options) *cobra.Command {
	v := &verification{}
	var show bool
	c := &cobra.Command{
		Use: "verify FILE", Short: "Verify an export offline, and say what that is worth", Args: cobra.ExactArgs(1),
		Long: "Verify an export offline: no server, no network.\nExit codes: 0 verified; 1 it does not verify; 3 it verifies, but only the operator vouches for it.",
	}
	v.flags(c)
	c.Flags().StringVar(&v.pin, "pin", "", "head of an earlier verification: this must continue it")
	c.Flags().BoolVar(&show, "records", false, "print the records too")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r, done, err := v.verify(args[0])
		if err != nil {
			return err
		}
		defer done() //nolint:errcheck // it was only read
		if show {
			for opened, err := range r.Records() {
				if err != nil {
					return err
				}
				if err := o.printRecord(cmd.OutOrStdout(), view.Of(opened)); err != nil {
					return err
				}
			}
		}
		return o.printReport(cmd.OutOrStdout(), r)
	}
	return c
}

func (o *options) printReport(w io.Writer, r *bundle.Report) error {
	m := r.Manifest
	if o.json {
		err := printJSON(w, map[string]any{
			"log": m.Log, "tenant": m.Tenant.String(), "from": m.From, "to": m.To, "size": m.Size, "created": m.Created,
			"opened": r.Opened, "own_policy": r.OwnPolicy, "witnesses": r.Witnesses, "pinned": r.Pinned, "worth": r.Worth(),
		})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "verified: %s, records %d to %d of %d, %s\n", m.Log, m.From, m.To, m.Size, r.Worth())
		if r.OwnPolicy {
			fmt.Fprintln(w, "          by the keys the bundle itself names: compare them with --policy")
		}
	}
	if r.Less() || r.OperatorOnly() {
		return exit(exitLess)
	}
	return nil
}

func auditPin(o *options) *cobra.Command {
	v := &verification{}
	var out string
	c := &cobra.Command{Use: "pin FILE --out PIN", Short: "Verify an export and keep its head: the next one must continue it", Args: cobra.ExactArgs(1)}
	v.flags(c)
	c.Flags().StringVar(&v.pin, "pin", "", "the pin before: this must continue it")
	c.Flags().StringVar(&out, "out", "", "file to keep the head in")
	c.MarkFlagRequired("out") //nolint:errcheck // the flag is there
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := o.free(out); err != nil {
			return err
		}
		r, done, err := v.verify(args[0])
		if err != nil {
			return err
		}
		defer done() //nolint:errcheck // it was only read
		if _, err := save(out, strings.NewReader(r.Head.String())); err != nil {
			return err
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), map[string]any{"file": out, "log": r.Head.Origin, "size": r.Head.Size, "worth": r.Worth()})
		}
		o.step("%s: pinned to checkpoint %d of %s", out, r.Head.Size, r.Head.Origin)
		return nil
	}
	return c
}

func readPin(path string) (trail.Head, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return trail.Head{}, err
	}
	h, err := trail.ParseHead(string(b))
	if err != nil {
		return trail.Head{}, fmt.Errorf("%s is not a pin: %w", path, err)
	}
	return h, nil
}
