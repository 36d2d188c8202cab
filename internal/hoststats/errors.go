package hoststats

import "errors"

// errMalformed is of a file that does not say what it should.
var errMalformed = errors.New("it does not have the numbers that it should have")

// orMalformed is err, or if there is none that.
func orMalformed(err error) error {
	if err != nil {
		return err
	}
	return errMalformed
}
