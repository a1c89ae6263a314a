package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

func printJSON(w io.Writer, results []result) {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(results) // standard output: nobody is left to tell
}

func printTable(w io.Writer, results []result) {
	fmt.Fprint(w, "| work | median | p99 | goal | |\n|--|--:|--:|--:|--|\n")
	for _, r := range results {
		p99, goal, mark := "", "", ""
		if r.P99 > 0 {
			p99 = figure(r.P99, r.Unit)
		}
		if r.Goal != nil {
			goal = map[bool]string{false: "≤ ", true: "≥ "}[moreIsBetter[r.Unit]] + figure(*r.Goal, r.Unit)
			mark = map[bool]string{false: "missed", true: "met"}[r.Met]
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", r.Name, figure(r.Median, r.Unit), p99, goal, mark)
	}
}

// printRatios prints how many times better the first server is than the other.
func printRatios(w io.Writer, names string, results []result) {
	first, other, _ := strings.Cut(names, ",")
	fmt.Fprintf(w, "| work | %s | %s | ratio |\n|--|--:|--:|--:|\n", other, first)
	for _, r := range results {
		before, ratio := "", ""
		if r.Other != nil {
			before = figure(*r.Other, r.Unit)
			if moreIsBetter[r.Unit] {
				ratio = figure(r.Median / *r.Other, "")
			} else if r.Unit != "" && r.Median > 0 {
				ratio = figure(*r.Other/r.Median, "")
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", r.Name, before, figure(r.Median, r.Unit), ratio)
	}
}

// figure writes three digits and the unit.
func figure(v float64, unit string) string {
	decimals := 2
	if v != 0 {
		decimals = min(2, max(0, 2-int(math.Floor(math.Log10(math.Abs(v))))))
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if unit == "" {
		return text
	}
	return text + " " + unit
}
