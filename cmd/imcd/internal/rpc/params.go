package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"imcd/evapi"
)

// texts reads the parameters of a method, all of them text: an array in the
// order of names, or an object with these names. All must be there, none empty.
func texts(params json.RawMessage, names ...string) ([]string, error) {
	params = bytes.TrimSpace(params)
	values := make([]string, len(names))
	var err error
	switch {
	case len(params) == 0 || bytes.Equal(params, []byte("null")):
	case params[0] == '{':
		err = fromObject(params, names, values)
	default:
		err = fromArray(params, names, values)
	}
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if v == "" {
			return nil, invalid("no %s given; parameters are [%s]", names[i], strings.Join(names, ", "))
		}
	}
	return values, nil
}

func fromArray(params json.RawMessage, names, values []string) error {
	var list []any
	if err := json.Unmarshal(params, &list); err != nil {
		return invalid("parameters must be an array or an object")
	}
	if len(list) > len(names) {
		return invalid("too many parameters: %d given, at most %d wanted", len(list), len(names))
	}
	for i, v := range list {
		text, ok := v.(string)
		if !ok {
			return invalid("%s must be a string", names[i])
		}
		values[i] = text
	}
	return nil
}

func fromObject(params json.RawMessage, names, values []string) error {
	var object map[string]any
	if err := json.Unmarshal(params, &object); err != nil {
		return invalid("parameters must be an array or an object")
	}
	for name, v := range object {
		i := slices.Index(names, name)
		if i < 0 {
			return invalid("there is no parameter %q; parameters are [%s]", name, strings.Join(names, ", "))
		}
		text, ok := v.(string)
		if !ok {
			return invalid("%s must be a string", name)
		}
		values[i] = text
	}
	return nil
}

func invalid(format string, args ...any) error {
	return &evapi.RPCError{Code: evapi.CodeInvalidParams, Message: fmt.Sprintf(format, args...)}
}
