package rpc

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Routers are named by their ids unless there is more to tell; then upstream's agents find the id in each.
func TestRoutersArgs(t *testing.T) {
	for _, tt := range []struct {
		args RoutersArgs
		text string
	}{
		{RoutersArgs{Routers: []string{"a", "b"}}, `{"routers":["a","b"]}`},
		{RoutersArgs{Routers: []string{"a", "b"}, FloatingIPs: map[string][]string{"b": {"f", "g"}}}, `{"routers":[{"id":"a"},{"id":"b","floatingip_ids":["f","g"]}]}`},
	} {
		text, err := json.Marshal(tt.args)
		if err != nil || string(text) != tt.text {
			t.Errorf("%+v is %s (%v), want %s", tt.args, text, err, tt.text)
		}
		var back RoutersArgs
		if err := json.Unmarshal([]byte(tt.text), &back); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.args, back); diff != "" {
			t.Error(diff)
		}
	}
	var args RoutersArgs
	if json.Unmarshal([]byte(`{"routers":[7]}`), &args) == nil {
		t.Error("a number is no router")
	}
}
