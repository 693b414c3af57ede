package schema

import (
	"database/sql/driver"
	"fmt"
	"strconv"
)

// row is a row as the driver gives it. Only values that its methods return may be kept.
type row struct {
	values []driver.Value
	names  []string // of the columns
	err    error    // the first of the methods
}

// text returns a column of text; NULL is empty.
func (r *row) text(i int) string {
	switch v := r.values[i].(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte: // SQLite keeps a BLOB in a column of text
		return string(v)
	}
	r.fail(i, "text")
	return ""
}

// number returns a column of integers or booleans.
func (r *row) number(i int) int64 {
	switch v := r.values[i].(type) {
	case int64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	case string, []byte: // a table that somebody has made with other types
		if n, err := strconv.ParseInt(r.text(i), 10, 64); err == nil {
			return n
		}
	}
	r.fail(i, "an integer")
	return 0
}

// count returns a column of integers that are not negative.
func (r *row) count(i int) uint64 {
	n := r.number(i)
	if n < 0 {
		r.fail(i, "0 or more")
		return 0
	}
	return uint64(n)
}

func (r *row) fail(i int, want string) {
	if r.err != nil {
		return
	}
	shown := fmt.Sprint(r.values[i])
	switch r.values[i].(type) {
	case nil:
		shown = "NULL"
	case string, []byte:
		shown = fmt.Sprintf("%q", r.values[i])
	}
	r.err = fmt.Errorf("%s is not %s: %s", r.names[i], want, shown)
}
