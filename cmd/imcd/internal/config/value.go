package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"imcd/engine"
)

// errNoValue is the error of a key without a value: in YAML an unquoted # begins a
// comment, which is easily overlooked.
var errNoValue = errors.New(`has no value (write "" for empty, and quotes around what begins with #)`)

// key is one setting: its name in the file (IMCD_NAME in the environment,
// --name as a flag), what it is for, and how a value gets into a raw.
type key struct {
	name  string
	usage string
	set   func(r *raw, v any) error
	get   func(r *raw) any // the value as YAML would have it

	secret func(r *raw) *string // where it stands, if nobody may see it; else nil
}

func textKey(name, usage string, at func(*raw) *string) key {
	return key{name: name, usage: usage,
		set: func(r *raw, v any) error { return setText(at(r), v) },
		get: func(r *raw) any { return *at(r) }}
}

func intKey(name, usage string, low, high int, at func(*raw) *int) key {
	return key{name: name, usage: usage,
		set: func(r *raw, v any) error { return setInt(at(r), v, low, high) },
		get: func(r *raw) any { return *at(r) }}
}

func boolKey(name, usage string, at func(*raw) *bool) key {
	return key{name: name, usage: usage,
		set: func(r *raw, v any) error { return setBool(at(r), v) },
		get: func(r *raw) any {
			if *at(r) {
				return 1
			}
			return 0
		}}
}

func durationKey(name, usage string, low, high time.Duration, at func(*raw) *time.Duration) key {
	return key{name: name, usage: usage,
		set: func(r *raw, v any) error { return setDuration(at(r), v, low, high) },
		get: func(r *raw) any { return at(r).String() }}
}

func rateKey(name, usage string, at func(*raw) *engine.Rate) key {
	return key{name: name, usage: usage,
		set: func(r *raw, v any) error { return setRate(at(r), v) },
		get: func(r *raw) any {
			if rate := at(r); rate.Count > 0 {
				return fmt.Sprintf("%d/%v", rate.Count, rate.Per)
			}
			return ""
		}}
}

// choiceKey is a text of which only the given values are right.
func choiceKey(name, usage string, at func(*raw) *string, choices ...string) key {
	return key{name: name, usage: usage,
		set: func(r *raw, v any) error {
			var s string
			if err := setText(&s, v); err != nil {
				return err
			}
			for _, c := range choices {
				if s == c {
					*at(r) = s
					return nil
				}
			}
			return fmt.Errorf("must be one of %s, is %q", strings.Join(choices, ", "), s)
		},
		get: func(r *raw) any { return *at(r) }}
}

func setText(to *string, v any) error {
	switch v := v.(type) {
	case nil:
		return errNoValue
	case string:
		*to = v
		return nil
	default:
		// A number or a yes would arrive in another spelling than it was written
		// in. It may be a secret, so it is not shown.
		return errors.New("must be text: put it in quotes")
	}
}

// setRate reads "60/10s", or "6/s" for "6/1s". Empty is no limit.
func setRate(to *engine.Rate, v any) error {
	var s string
	if err := setText(&s, v); err != nil {
		return err
	}
	if s == "" {
		*to = engine.Rate{}
		return nil
	}
	count, per, ok := strings.Cut(s, "/")
	if ok && per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	n, err := strconv.Atoi(strings.TrimSpace(count))
	d, errPer := time.ParseDuration(strings.TrimSpace(per))
	if !ok || err != nil || errPer != nil || n < 1 || d <= 0 {
		return fmt.Errorf("must be a count and a time like 60/10s or 5/s, is %q", s)
	}
	*to = engine.Rate{Count: n, Per: d}
	return nil
}

func setInt(to *int, v any, low, high int) error {
	n, err := toInt(v)
	if err != nil {
		return err
	}
	if n < low || n > high {
		if high == math.MaxInt {
			return fmt.Errorf("must be at least %d, is %d", low, n)
		}
		return fmt.Errorf("must be %d to %d, is %d", low, high, n)
	}
	*to = n
	return nil
}

func toInt(v any) (int, error) {
	switch v := v.(type) {
	case nil:
		return 0, errNoValue
	case int:
		return v, nil
	case string:
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("must be a whole number, is %q", fmt.Sprint(v))
}

func setBool(to *bool, v any) error {
	switch strings.ToLower(fmt.Sprint(v)) {
	case "1", "true", "yes", "on":
		*to = true
	case "0", "false", "no", "off":
		*to = false
	case "<nil>":
		return errNoValue
	default:
		return fmt.Errorf("must be 0 or 1, is %q", fmt.Sprint(v))
	}
	return nil
}

func setDuration(to *time.Duration, v any, low, high time.Duration) error {
	if v == nil {
		return errNoValue
	}
	d, err := time.ParseDuration(fmt.Sprint(v))
	if err != nil {
		return fmt.Errorf("must be a duration like 500ms, 5s or 2m, is %q", fmt.Sprint(v))
	}
	if d < low || d > high {
		return fmt.Errorf("must be %v to %v, is %v", low, high, d)
	}
	*to = d
	return nil
}
