package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told returns what the story prints, without times.
func told(steps func(s *story)) (text string, s *story) {
	var out strings.Builder
	s = newStory(&out)
	s.tell(func() { steps(s) })
	s.end()
	return regexp.MustCompile(` +[0-9.]+ s`).ReplaceAllString(out.String(), " # s"), s
}

func TestStory(t *testing.T) {
	seen := func(text string) func() string { return func() string { return text } }
	tests := []struct {
		name     string
		steps    func(s *story)
		want     string
		complete bool
	}{
		{"all well", func(s *story) {
			s.Cleanup(func() { s.Logf("cleaned") })
			s.step("one", seen("one was seen"))
			s.check("two", seen("two was seen"))
		}, "✔ one was seen # s\n✔ two was seen # s\n  cleaned\n\n2 steps went well, 0 failed; # s, and # s to remove everything\n", true},
		{"a failed check does not end it", func(s *story) {
			s.check("one", func() string { s.must(errors.New("it rains")); return "" })
			s.step("two", seen("two was seen"))
		}, "✘ one: it rains # s\n✔ two was seen # s\n\n1 steps went well, 1 failed; # s, and # s to remove everything\n", false},
		{"a failed step does", func(s *story) {
			s.step("one", func() string { s.Fatalf("it %s", "snows"); return "" })
			s.step("two", seen("two was seen"))
		}, "✘ one: it snows # s\n\n0 steps went well, 1 failed; # s, and # s to remove everything\n", false},
		{"between steps", func(s *story) {
			s.Fatalf("no root")
		}, "✘ no root # s\n\n0 steps went well, 1 failed; # s, and # s to remove everything\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text, s := told(test.steps)
			if diff := cmp.Diff(test.want, text); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if s.complete() != test.complete {
				t.Errorf("complete is %v", s.complete())
			}
		})
	}
}

func TestInterruptedStoryIsNotComplete(t *testing.T) {
	text, s := told(func(s *story) {
		s.interrupt()
		s.check("late", func() string { s.Fatalf("everything is being removed"); return "" })
	})
	if s.complete() || strings.Contains(text, "late") {
		t.Errorf("complete is %v:\n%s", s.complete(), text)
	}
}
