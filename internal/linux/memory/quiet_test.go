package memory

import "testing"

func TestQuiet(t *testing.T) {
	const MB = 1 << 20
	k := keeper{}
	for i, look := range []struct {
		allocated uint64
		want      bool
	}{
		{2 * MB, false},   // too little to give back
		{30 * MB, false},  // at work
		{40 * MB, false},  // still
		{41 * MB, true},   // calm after work
		{43 * MB, false},  // given back meanwhile
		{49 * MB, false},  // a bit of work
		{50 * MB, false},  // calm, but it was little
		{58 * MB, false},  // more work
		{59 * MB, true},   // it was much together
		{158 * MB, false}, //
		{158 * MB, true},  //
	} {
		if got := k.quiet(look.allocated); got != look.want {
			t.Fatalf("look %d: %t", i, got)
		} else if got {
			k.gave(look.allocated + MB/2)
		}
	}
}

// Slack takes no memory, and lets the heap grow.
func TestSlack(t *testing.T) {
	before := anonymous(t)
	const size = 64 << 20
	s := NewSlack(size)
	if took := anonymous(t) - before; took > 8<<10 {
		t.Errorf("took %d kB", took)
	}
	if len(s) != size {
		t.Error(len(s))
	}
}
