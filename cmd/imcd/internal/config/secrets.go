package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// CredentialsEnv names the directory in which systemd puts a service's
// credentials (LoadCredential=). Each is a file with the name of its key.
const CredentialsEnv = "CREDENTIALS_DIRECTORY"

// secretKey is a text that nobody may see. Give it a fileKey, too.
func secretKey(name, usage string, at func(*raw) *string) key {
	k := textKey(name, usage, at)
	k.secret = at
	return k
}

// fileKey is the key NAME_file of the secret NAME.
func fileKey(name string) key {
	return key{name: name + "_file", usage: "file whose first line is " + name,
		set: func(r *raw, v any) error {
			var path string
			err := setText(&path, v)
			r.files[name] = path
			return err
		},
		get: func(r *raw) any { return r.files[name] }}
}

// readSecrets reads the secrets that stand in files: the file that KEY_file
// names, or the credential KEY if neither KEY nor KEY_file is given.
func (r *raw) readSecrets(from Sources, origin map[string]string) error {
	inFile := false
	for _, k := range keys() {
		if k.secret == nil {
			continue
		}
		at, path := k.secret(r), r.files[k.name]
		inFile = inFile || (hides(k, *at) && origin[k.name] == from.File)
		source := origin[k.name+"_file"]
		switch {
		case path != "" && *at != "":
			return &Error{Key: k.name + "_file", Source: source, Err: fmt.Errorf("excludes %s, which is set, too", k.name)}
		case path == "" && *at != "":
			continue
		case path == "":
			if path = credential(from.Environ, k.name); path == "" {
				continue
			}
			source = CredentialsEnv
		}
		var err error
		if *at, err = r.secretOf(path); err != nil {
			return &Error{Key: k.name + "_file", Source: source, Err: err}
		}
	}
	if inFile && from.File != "" {
		r.warnOpen(from.File)
	}
	return nil
}

// credential is the file of a credential; empty if there is none.
func credential(environ []string, name string) string {
	for _, kv := range environ {
		if dir, ok := strings.CutPrefix(kv, CredentialsEnv+"="); ok && dir != "" {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return ""
}

// secretOf reads a secret from a file: its first line.
func (r *raw) secretOf(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", errors.New(path + ": its first line is empty")
	}
	r.warnOpen(path)
	return line, nil
}

// warnOpen notes that everybody on this host may read a file with a secret.
func (r *raw) warnOpen(path string) {
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o004 != 0 {
		r.Warnings = append(r.Warnings, path+" has a secret in it and can be read by everybody on this host (chmod o-r)")
	}
}

// hides reports whether a key's value has a secret in it: a list of Kamailios
// may have, and a database without a password has not.
func hides(k key, value string) bool {
	switch k.name {
	case "evapi":
		return strings.Contains(value, "secret")
	case "db_url":
		return strings.Contains(value, "@") || strings.Contains(value, "password")
	}
	return k.secret != nil && value != ""
}

// SecretFlags returns the secrets among the flags that were given, as variables
// for the environment. On a command line they can be read by every local user.
func SecretFlags(fs *pflag.FlagSet) map[string]string {
	found := make(map[string]string)
	for _, k := range keys() {
		f := fs.Lookup(k.name)
		if f == nil || !f.Changed {
			continue
		}
		if hides(k, f.Value.String()) {
			found[k.name] = envPrefix + strings.ToUpper(k.name) + "=" + f.Value.String()
		}
	}
	return found
}
