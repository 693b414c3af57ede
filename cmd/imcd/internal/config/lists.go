package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// setEvapi reads the key evapi: host:port, several of them in one text with
// commas between, or a list of host:port and of {addr, secret, secret_file}.
func setEvapi(r *raw, v any) error {
	if s, ok := v.(string); ok && strings.HasPrefix(strings.TrimSpace(s), "[") {
		var err error
		if v, err = parseYAML(s); err != nil {
			return err
		}
	}
	var list []endpoint
	switch v := v.(type) {
	case nil:
		return errNoValue
	case string:
		for a := range strings.SplitSeq(v, ",") {
			list = append(list, endpoint{addr: strings.TrimSpace(a)})
		}
	case []any:
		for i, item := range v {
			e, err := toEndpoint(item)
			if err != nil {
				return fmt.Errorf("entry %d: %w", i+1, err)
			}
			list = append(list, e)
		}
	default:
		return errors.New("must be host:port or a list of them") // may hold a secret
	}
	r.evapi = list
	return nil
}

func toEndpoint(item any) (endpoint, error) {
	var e endpoint
	fields, ok := item.(map[string]any)
	if !ok {
		err := setText(&e.addr, item)
		return e, err
	}
	known := map[string]*string{"addr": &e.addr, "secret": &e.secret, "secret_file": &e.secretFile}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		to, ok := known[name]
		if !ok {
			return e, fmt.Errorf("unknown key %s (known: addr, secret, secret_file)", name)
		}
		if err := setText(to, fields[name]); err != nil {
			return e, fmt.Errorf("%s: %w", name, err)
		}
	}
	if e.secret != "" && e.secretFile != "" {
		return e, errors.New("secret and secret_file exclude each other")
	}
	return e, nil
}

func evapiValue(r *raw) any {
	list := make([]string, len(r.evapi))
	for i, e := range r.evapi {
		list[i] = e.addr
	}
	return strings.Join(list, ",")
}

// setNotices reads the key notices, a map of name and template; from the
// environment and flags it is the same map as YAML or JSON in one line.
func setNotices(r *raw, v any) error {
	if s, ok := v.(string); ok {
		var err error
		if v, err = parseYAML(s); err != nil {
			return err
		}
	}
	m, ok := v.(map[string]any)
	if v == nil || (ok && len(m) == 0) {
		return nil
	}
	if !ok {
		return fmt.Errorf("must be a map of name and template, is %v", v)
	}
	custom := make(map[string]string, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		var text string
		if err := setText(&text, m[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		custom[name] = text
	}
	r.Engine.Notices = custom
	return nil
}

func parseYAML(s string) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(s), &v); err != nil {
		return nil, fmt.Errorf("is not YAML: %s", oneLine(err))
	}
	return v, nil
}

// oneLine is err's text without line breaks, which parsers like to put in.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
