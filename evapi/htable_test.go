package evapi

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTableFrame(t *testing.T) {
	for name, c := range map[string]struct {
		rooms []TabledRoom
		all   Tabling
		want  string
	}{
		"nothing":     {nil, TablePart, `","`},
		"whole":       {nil, 7, `1","`},
		"not whole":   {nil, TableIncomplete, `0","`},
		"rooms":       {[]TabledRoom{{"a@x", 5, []string{"u@x", "v@x"}}, {"b@x", 6, nil}}, 0, `","5 a@x u@x v@x .<6 b@x .<`},
		"ended, left": {[]TabledRoom{{"a@x", 0, nil}, {"b@x", 0, []string{"u@x"}}}, 0, `","0 a@x .<0 b@x u@x .<`},
		"odd names": {[]TabledRoom{{`a"@x`, 5, []string{"u@x"}},
			{"b@x", 6, []string{"u <@x", "%75@x", `\@x`, "é@x", ".", "w'@x"}}}, 0,
			`","6 b@x w'@x .<`},
		"only odd names left":  {[]TabledRoom{{"a@x", 0, []string{"%75@x"}}, {strings.Repeat("a", 256), 1, nil}}, 0, `","`},
		"only odd names there": {[]TabledRoom{{"a@x", 5, []string{"%75@x"}}}, 0, `","5 a@x .<`},
	} {
		if got := string(tableFrame(c.rooms, c.all)); got != imcHtable+c.want+`."]}` {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestTableBounds: one frame at a time waits, nothing is added while Kamailio's memory is short, and only a number that
// is up to date says that the table is whole.
func TestTableBounds(t *testing.T) {
	c, err := NewConn(Config{Addr: "127.0.0.1:1", Secret: "x", Engine: "7"}, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	more, less := []TabledRoom{{"a@x", 5, nil}}, []TabledRoom{{"a@x", 0, nil}}
	table := func(rooms []TabledRoom, all Tabling, want error, queued int) {
		t.Helper()
		before := c.box.pending()
		done := make(chan error)
		go func() { done <- c.Table(t.Context(), rooms, all) }()
		for queued > 0 && c.box.pending() < before+queued {
			select {
			case err := <-done:
				t.Fatalf("%v, and it is not queued", err)
			default:
			}
		}
		if queued > 0 {
			select {
			case err := <-done:
				t.Errorf("it does not wait for Kamailio: %v", err)
			default:
			}
			var w windowBuilder
			w.reset(maxBatches)
			c.box.take(&w, &c.memory, time.Now())
			c.box.confirm()
		}
		if err := <-done; !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	table(more, TablePart, ErrDown, 0)
	c.box.open(&peer{fleet: true})
	table(more, TablePart, ErrDown, 0)
	if len(c.Untabled()) > 0 {
		t.Error("a Kamailio without a table lacks rooms")
	}
	c.box.open(&peer{fleet: true, htable: true})
	<-c.Untabled()
	table(more, TablePart, nil, 1)
	c.memory.update(49, 100, time.Now())
	table(more, TablePart, ErrMemory, 0)
	table(less, TablePart, nil, 1)
	table(nil, TableIncomplete, nil, 1)
	c.memory.update(50, 100, time.Now())
	table(more, TablePart, nil, 1)
	before := c.Tabled()
	if err := c.Own([]Shard{{Shard: 0, Epoch: 1}}); err != nil {
		t.Fatal(err)
	}
	<-c.Untabled()
	table(nil, before, nil, 0)
	table(nil, c.Tabled(), nil, 1)
	table([]TabledRoom{{"a@x", 1, slices.Repeat([]string{strings.Repeat("u", 250)}, 200)}}, TablePart, ErrTooLarge, 0)
}
