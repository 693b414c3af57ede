package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

func TestErrorsOfDriversAreTold(t *testing.T) {
	code := func(c string) error { return &pq.Error{Code: pqerror.Code(c)} }
	tests := []struct {
		err  error
		want error // nil: neither
	}{
		{code("23505"), ErrInvalid}, {code("22001"), ErrInvalid},
		{code("22P05"), ErrInvalid}, {code("54000"), ErrInvalid}, {code("44000"), ErrInvalid}, {code("P0001"), ErrInvalid},
		{code("21000"), ErrInvalid}, {code("25P03"), ErrUnavailable}, {code("40P01"), ErrUnavailable},
		{code("08006"), ErrUnavailable},
		{code("42501"), nil}, {code("XX000"), nil}, {code(""), nil},
		{code("57P01"), ErrUnavailable}, {code("57P03"), ErrUnavailable}, {code("53300"), ErrUnavailable},
		{code("53100"), ErrUnavailable}, {code("25006"), ErrUnavailable}, {code("40001"), ErrUnavailable},
		{code("28P01"), ErrUnavailable}, {code("42P01"), nil},
		{driver.ErrBadConn, ErrUnavailable}, {io.ErrUnexpectedEOF, ErrUnavailable},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, ErrUnavailable},
		{context.DeadlineExceeded, ErrUnavailable}, {context.Canceled, nil}, {errors.New("else"), nil},
	}
	for _, test := range tests {
		err := wrap(t.Context(), "try", fmt.Errorf("wrapped: %w", test.err))
		if !errors.Is(err, test.err) {
			t.Errorf("%v: the cause is lost", err)
		}
		for _, kind := range []error{ErrUnavailable, ErrInvalid} {
			if errors.Is(err, kind) != (test.want == kind) {
				t.Errorf("%v is %v: %t", err, kind, errors.Is(err, kind))
			}
		}
	}
}

// A pooler says of the server what the server says of a statement, but as the end of the
// connection: what was under way may have been carried out.
func TestLostStatementsAreTold(t *testing.T) {
	for err, want := range map[*pq.Error]bool{
		{Code: "08P01", Severity: "ERROR"}: true, {Code: "26000", Severity: "ERROR"}: true,
		{Code: "42P05", Severity: "ERROR"}: true,
		{Code: "08P01", Severity: "FATAL"}: false, {Code: "57P01", Severity: "FATAL"}: false,
	} {
		if statementLost(fmt.Errorf("wrapped: %w", err)) != want {
			t.Errorf("%s %s: %t", err.Severity, err.Code, !want)
		}
		if !want && !errors.Is(wrap(t.Context(), "try", err), ErrUnavailable) {
			t.Errorf("%s %s is not that the database is away", err.Severity, err.Code)
		}
	}
}

// What the database itself says of a commit is what became of it; that it said nothing, or
// that it ended the connection, is not.
func TestUndecided(t *testing.T) {
	for err, want := range map[error]bool{
		&pq.Error{Code: "23505", Severity: "ERROR"}: false, &pq.Error{Code: "57014", Severity: "ERROR"}: false,
		pq.ErrInFailedTransaction: false, &pq.Error{Code: "57P01", Severity: "FATAL"}: true,
		driver.ErrBadConn: true, io.ErrUnexpectedEOF: true, &net.OpError{Op: "read", Err: errors.New("reset")}: true,
		context.DeadlineExceeded: true, errUnconfirmed: true,
	} {
		if err = fmt.Errorf("wrapped: %w", err); undecided(err) != want {
			t.Errorf("%v: undecided %t", err, !want)
		}
		if sure := uncertain(err); !errors.Is(sure, ErrUncertain) || !errors.Is(sure, ErrUnavailable) ||
			!errors.Is(sure, err) {
			t.Errorf("%v", sure)
		}
	}
	if undecided(nil) {
		t.Error("success is undecided")
	}
}
