// Package upgrade checks whether a deployment is ready for this version, as upstream's `neutron-status upgrade check`
// does: the same table, JSON and codes. The questions about the database are upstream's
// (neutron/cmd/upgrade_checks/checks.py), without those about programs that Neutrino does not use.
package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"

	"neutrino/internal/store"
)

// Code is the outcome of a check; the highest of all is the exit status.
type Code int

// Codes of oslo.upgradecheck.
const (
	Success Code = iota
	Warning
	Failure
	Error Code = 255 // the checks could not be made
)

func (c Code) String() string { return [...]string{"Success", "Warning", "Failure"}[c] }

// Result is what a check says.
type Result struct {
	Check   string `json:"check"`
	Code    Code   `json:"result"`
	Details string `json:"details"`
}

// Config is what checks that are not about the database must know.
type Config struct {
	Warnings    []string // about options that are unknown or without effect
	Missing     []string // plug-ins and drivers that the configuration names and this version does not have
	PolicyFile  string   // as found
	JSONPolicy  bool     // it is JSON
	NoDatabase  bool     // no connection is configured
	HeadsKnown  bool     // the database has this version's schema
	HeadsDetail string
}

// Run makes all checks. db is nil without a database.
func Run(ctx context.Context, db *store.DB, c Config) ([]Result, error) {
	results := []Result{c.schema(), c.list("Options known", c.Warnings, "All options of the configuration are known and have an effect."),
		c.list("Plug-ins and drivers", c.Missing, "All plug-ins and drivers of the configuration are there."), c.policy()}
	if db == nil {
		for _, q := range questions {
			results = append(results, Result{q.check, Warning, "Database connection string is not set. The check can't be done."})
		}
		return results, nil
	}
	err := db.Read(ctx, func(tx *store.Tx) error {
		for _, q := range questions {
			found, err := q.find(tx)
			if err != nil {
				return fmt.Errorf("%s: %w", q.check, err)
			}
			r := Result{q.check, Success, q.fine}
			if len(found) > 0 {
				r.Code, r.Details = q.code, fmt.Sprintf(q.wrong, summary(found))
			}
			results = append(results, r)
		}
		return nil
	})
	return results, err
}

// summary names some and counts the rest.
func summary(found []string) string {
	const most = 5
	if len(found) <= most {
		return strings.Join(found, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(found[:most], ", "), len(found)-most)
}

func (c Config) schema() Result {
	switch r := (Result{Check: "Database schema", Details: c.HeadsDetail}); {
	case c.NoDatabase:
		r.Code, r.Details = Warning, "Database connection string is not set."
		return r
	case !c.HeadsKnown:
		r.Code = Failure
		return r
	default:
		return r
	}
}

func (Config) list(check string, bad []string, fine string) Result {
	if len(bad) > 0 {
		return Result{check, Warning, summary(bad)}
	}
	return Result{check, Success, fine}
}

func (c Config) policy() Result {
	r := Result{Check: "Policy File JSON to YAML Migration", Details: "The policy file is not JSON."}
	if c.JSONPolicy {
		r.Code, r.Details = Failure, fmt.Sprintf("The policy file %s is JSON, which is deprecated. Convert it to YAML.", c.PolicyFile)
	}
	return r
}

// Worst is the exit status.
func Worst(results []Result) (worst Code) {
	for _, r := range results {
		worst = max(worst, r.Code)
	}
	return worst
}

const title = "Upgrade Check Results"

// PrintJSON writes one line, as oslo.upgradecheck does.
func PrintJSON(w io.Writer, results []Result) error {
	line, err := json.Marshal(struct {
		Name   string   `json:"name"`
		Checks []Result `json:"checks"`
	}{title, results})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}

// detailWidth is where lines of details end.
const detailWidth = 60

// Print writes the table.
func Print(w io.Writer, results []Result) error {
	cells := [][]string{{title}}
	for _, r := range results {
		lines := wrap(r.Details)
		cell := []string{"Check: " + r.Check, "Result: " + r.Code.String(), "Details: " + lines[0]}
		cells = append(cells, append(cell, lines[1:]...))
	}
	width := 0
	for _, cell := range cells {
		for _, line := range cell {
			width = max(width, len([]rune(line)))
		}
	}
	rule := "+" + strings.Repeat("-", width+2) + "+\n"
	var b strings.Builder
	b.WriteString(rule)
	for _, cell := range cells {
		for _, line := range cell {
			fmt.Fprintf(&b, "| %s%s |\n", line, strings.Repeat(" ", width-len([]rune(line))))
		}
		b.WriteString(rule)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks a text as Python's textwrap does: into lines of at most detailWidth, the second and later ones indented by
// two, at spaces and hyphens; what is longer than a line is cut.
func wrap(text string) []string {
	chunks, lines, indent := split(text), []string{}, ""
	for len(chunks) > 0 {
		if chunks[0] == " " && len(lines) > 0 {
			chunks = chunks[1:]
			continue
		}
		line, width := "", detailWidth-len(indent)
		for len(chunks) > 0 && runes(line+chunks[0]) <= width {
			line, chunks = line+chunks[0], chunks[1:]
		}
		if left := width - runes(line); len(chunks) > 0 && runes(chunks[0]) > width && left > 0 {
			word := []rune(chunks[0])
			if hyphen := strings.LastIndex(string(word[:left]), "-"); hyphen > 0 {
				left = runes(string(word[:left])[:hyphen]) + 1
			}
			line, chunks[0] = line+string(word[:left]), string(word[left:])
		}
		lines, indent = append(lines, indent+strings.TrimRight(line, " ")), "  "
	}
	if len(lines) == 0 {
		lines = []string{""}
	}
	return lines
}

func runes(s string) int { return len([]rune(s)) }

// hyphens are where a word may be broken: between two letters and two letters.
var hyphens = regexp.MustCompile(`[\pL]{2}-[\pL]{2}`)

// split makes words, parts of words that end with a hyphen, and single spaces of a text.
func split(text string) (chunks []string) {
	for i, word := range strings.Fields(text) {
		if i > 0 {
			chunks = append(chunks, " ")
		}
		for at := hyphens.FindStringIndex(word); at != nil; at = hyphens.FindStringIndex(word) {
			cut := at[0] + strings.Index(word[at[0]:], "-") + 1
			chunks, word = append(chunks, word[:cut]), word[cut:]
		}
		chunks = append(chunks, word)
	}
	return chunks
}
