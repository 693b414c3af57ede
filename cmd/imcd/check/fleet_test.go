package check

import (
	"testing"

	"imcd/schema"
)

// TestUnequalSettings: imcd that share rooms should have the same settings.
func TestUnequalSettings(t *testing.T) {
	engine := func(marks map[string]string) schema.EngineView { return schema.EngineView{Marks: marks} }
	for _, c := range []struct {
		engines []schema.EngineView
		want    string
	}{
		{nil, ""},
		{[]schema.EngineView{engine(nil), engine(nil)}, ""},
		{[]schema.EngineView{engine(map[string]string{"a": "1"}), engine(map[string]string{"a": "1"})}, ""},
		{[]schema.EngineView{engine(map[string]string{"b": "1", "a": "1"}), engine(map[string]string{"b": "2"}), engine(nil)},
			"the imcd have different settings: a, b"},
	} {
		got := ""
		r := &run{print: func(l Line) { got = l.Text }}
		r.settings(c.engines)
		if got != c.want {
			t.Errorf("%v: %q", c.engines, got)
		}
	}
}
