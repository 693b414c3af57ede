package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"imcd/evapi/jsonrpc"
)

// param is one parameter of a method.
type param struct {
	name     string
	kind     kind
	optional bool
}

// kind is the JSON type of a parameter.
type kind uint8

const (
	kindText kind = iota
	kindFlag
	kindNumber
)

func text(name string) param      { return param{name: name, kind: kindText} }
func flag(name string) param      { return param{name: name, kind: kindFlag} }
func number(name string) param    { return param{name: name, kind: kindNumber} }
func optional(p param) param      { p.optional = true; return p }
func nameOf(p param) string       { return p.name }
func signature(ps []param) string { return strings.Join(mapped(ps, shown), ", ") }

// shown returns the form of a parameter in a signature.
func shown(p param) string {
	if p.optional {
		return p.name + "?"
	}
	return p.name
}

func mapped(ps []param, f func(param) string) []string {
	list := make([]string, len(ps))
	for i, p := range ps {
		list[i] = f(p)
	}
	return list
}

// values are a call's parameters by name. Those that were not given are missing.
type values map[string]any

func (v values) text(name string) string { s, _ := v[name].(string); return s }
func (v values) flag(name string) bool   { b, _ := v[name].(bool); return b }
func (v values) number(name string) int  { f, _ := v[name].(float64); return int(f) }

// read reads the parameters of a method: an array in their order, or an object
// with their names. null is the same as not given; a text that is not optional must
// not be empty.
func read(raw json.RawMessage, params []param) (values, error) {
	raw = bytes.TrimSpace(raw)
	v := values{}
	var err error
	switch {
	case len(raw) == 0 || bytes.Equal(raw, []byte("null")):
	case raw[0] == '{':
		err = v.fromObject(raw, params)
	default:
		err = v.fromArray(raw, params)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		if _, given := v[p.name]; !p.optional && (!given || v[p.name] == "") {
			return nil, invalid("no %s given; parameters are [%s]", p.name, signature(params))
		}
	}
	return v, nil
}

func (v values) fromArray(raw json.RawMessage, params []param) error {
	var list []any
	if err := json.Unmarshal(raw, &list); err != nil {
		return invalid("parameters must be an array or an object")
	}
	if len(list) > len(params) {
		return invalid("too many parameters: %d given, at most %d wanted", len(list), len(params))
	}
	for i, one := range list {
		if err := v.put(params[i], one); err != nil {
			return err
		}
	}
	return nil
}

func (v values) fromObject(raw json.RawMessage, params []param) error {
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return invalid("parameters must be an array or an object")
	}
	for name, one := range object {
		i := slices.Index(mapped(params, nameOf), name)
		if i < 0 {
			return invalid("there is no parameter %q; parameters are [%s]", name, signature(params))
		}
		if err := v.put(params[i], one); err != nil {
			return err
		}
	}
	return nil
}

func (v values) put(p param, one any) error {
	if one == nil && p.optional {
		return nil
	}
	var ok bool
	must := "a string"
	switch p.kind {
	case kindText:
		_, ok = one.(string)
	case kindFlag:
		_, ok = one.(bool)
		must = "true or false"
	case kindNumber:
		var f float64
		f, ok = one.(float64)
		// JSON has one kind of number; a fraction must not become an int.
		ok = ok && f == float64(int32(f))
		must = "a whole number"
	}
	if !ok {
		return invalid("%s must be %s", p.name, must)
	}
	v[p.name] = one
	return nil
}

func invalid(format string, args ...any) error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf(format, args...)}
}
