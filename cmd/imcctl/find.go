package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is the error of a command line that imcd had to be asked about.
type usageError struct{ message string }

// Error implements error.
func (e *usageError) Error() string { return e.message }

// roomURI is the room that an argument means: a name with a domain is taken as it is,
// for another imcd is asked which rooms fit.
func (t *tool) roomURI(cmd *cobra.Command, arg string) (string, error) {
	if strings.Contains(arg, "@") {
		return arg, nil
	}
	var fit []string
	err := t.call(cmd, "imc.find_rooms", []string{arg}, &fit)
	switch {
	case err != nil:
		return "", err
	case len(fit) == 0:
		return "", &notFound{fmt.Sprintf("no such room: %s (imcctl rooms lists them)", safe(arg))}
	case len(fit) > 1:
		return "", &usageError{fmt.Sprintf("several rooms fit %s, give the domain: %s", safe(arg), strings.Join(fit, ", "))}
	}
	return fit[0], nil
}
