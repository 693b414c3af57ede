package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Error is a setting that is wrong.
type Error struct {
	Key    string // its name
	Source string // where its value came from: a file, a variable or a flag; empty: the default
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Source == "" || e.Source == e.Key {
		return e.Key + ": " + oneLine(e.Err)
	}
	return e.Key + " (" + e.Source + "): " + oneLine(e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// envPrefix begins the names of imcd's own variables.
const envPrefix = "IMCD_"

// source is where settings come from: they are kept apart until all are known,
// so that an error can say which of them was wrong.
type source struct {
	name func(key string) string
	k    *koanf.Koanf
}

// Sources says where Load looks.
type Sources struct {
	File    string         // YAML file; empty: none
	Environ []string       // as os.Environ gives it
	Flags   *pflag.FlagSet // with AddFlags' flags, parsed; nil: none
}

// AddFlags adds a flag for every key to fs.
func AddFlags(fs *pflag.FlagSet) {
	for _, k := range keys() {
		fs.String(k.name, "", k.usage)
	}
}

// Load reads and checks the configuration. The error is an *Error if it is
// about one setting.
func Load(from Sources) (*Config, error) {
	layers, err := from.layers()
	if err != nil {
		return nil, err
	}
	r, origin := defaults(), map[string]string{}
	merged := koanf.New(".")
	for _, l := range layers {
		for _, name := range slices.Sorted(maps.Keys(l.k.Raw())) {
			origin[name] = l.name(name)
			if !isKey(name) {
				return nil, &Error{Key: name, Source: origin[name], Err: errors.New("unknown key")}
			}
		}
		if err := merged.Merge(l.k); err != nil {
			return nil, fmt.Errorf("merging the configuration: %w", err)
		}
	}
	values := merged.Raw()
	for _, k := range keys() {
		v, given := values[k.name]
		if !given {
			continue
		}
		if err := k.set(r, v); err != nil {
			return nil, &Error{Key: k.name, Source: origin[k.name], Err: err}
		}
	}
	if err := r.readSecrets(from, origin); err != nil {
		return nil, err
	}
	cfg, err := r.check(origin)
	if err != nil {
		return nil, err
	}
	cfg.Marks = r.marks()
	return cfg, nil
}

// layers returns the settings of each source, the weakest first.
func (from Sources) layers() ([]source, error) {
	var list []source
	if from.File != "" {
		k := koanf.New(".")
		if err := k.Load(file.Provider(from.File), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("configuration file %s: %s", from.File, oneLine(err))
		}
		list = append(list, source{func(string) string { return from.File }, k})
	}
	plain, err := plainEnv(from.Environ)
	if err != nil {
		return nil, err
	}
	own, err := ownEnv(from.Environ)
	if err != nil {
		return nil, err
	}
	list = append(list, plain, own)
	if from.Flags != nil {
		k := koanf.New(".")
		p := posflag.ProviderWithFlag(from.Flags, "", nil, flagValue)
		if err := k.Load(p, nil); err != nil {
			return nil, fmt.Errorf("reading flags: %w", err)
		}
		list = append(list, source{func(key string) string { return "--" + key }, k})
	}
	return list, nil
}

// flagValue leaves out the flags that are no settings, like -check.
func flagValue(f *pflag.Flag) (string, any) {
	if !isKey(f.Name) {
		return "", nil
	}
	return f.Name, f.Value.String()
}

// plainEnv reads the short names that make run and its like use. They give way
// to imcd's own variables.
func plainEnv(environ []string) (source, error) {
	names := map[string]struct{ key, before string }{
		"EVAPI_PORT": {"evapi", "127.0.0.1:"},
		"RPC_PORT":   {"rpc_listen", "127.0.0.1:"},
		"HTTP_PORT":  {"http_listen", "127.0.0.1:"},
		"DB_URL":     {"db_url", ""},
		"STATE_DIR":  {"state_dir", ""},
	}
	values, from := map[string]any{}, map[string]string{}
	for _, kv := range environ {
		name, v, _ := strings.Cut(kv, "=")
		if to, ok := names[name]; ok && v != "" {
			values[to.key], from[to.key] = to.before+v, name
		}
	}
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(values, ""), nil); err != nil {
		return source{}, fmt.Errorf("reading the environment: %w", err)
	}
	return source{func(key string) string { return from[key] }, k}, nil
}

// ownEnv reads IMCD_KEY variables. Set but empty is a value, too.
func ownEnv(environ []string) (source, error) {
	k := koanf.New(".")
	p := env.Provider("", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, v string) (string, any) {
			if name == OperatorSecretEnv {
				return "", nil
			}
			return strings.ToLower(strings.TrimPrefix(name, envPrefix)), v
		},
	})
	if err := k.Load(p, nil); err != nil {
		return source{}, fmt.Errorf("reading the environment: %w", err)
	}
	return source{func(key string) string { return envPrefix + strings.ToUpper(key) }, k}, nil
}

// OperatorSecretEnv is imcctl's variable, which imcd ignores though its name
// looks like one of imcd's own.
const OperatorSecretEnv = "IMCD_OPERATOR_SECRET"
