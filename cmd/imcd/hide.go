package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"imcd/cmd/imcd/internal/config"
)

// hideSecrets takes secrets off the command line, where every local user can
// read them (ps). imcd starts again as the same process, with the secrets in its
// environment, which only its own user and root can read. It returns only if
// there are none, or on an error.
func hideSecrets(flags *pflag.FlagSet, environ []string) error {
	secrets := config.SecretFlags(flags)
	if len(secrets) == 0 {
		return nil
	}
	args := []string{os.Args[0]}
	flags.Visit(func(f *pflag.Flag) {
		if _, secret := secrets[f.Name]; !secret {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	var env []string
	for _, kv := range environ {
		if !replaced(kv, secrets) {
			env = append(env, kv)
		}
	}
	for _, kv := range secrets {
		env = append(env, kv)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("taking secrets off the command line: %w", err)
	}
	return fmt.Errorf("taking secrets off the command line: starting %s again: %w", exe, syscall.Exec(exe, args, env))
}

// replaced reports whether one of secrets takes the place of a variable.
func replaced(kv string, secrets map[string]string) bool {
	name, _, _ := strings.Cut(kv, "=")
	for _, s := range secrets {
		if strings.HasPrefix(s, name+"=") {
			return true
		}
	}
	return false
}
