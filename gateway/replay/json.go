package replay

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// errJSON says that a line is no JSON object.
var errJSON = errors.New("it begins as a JSON object and is none")

// maxDepth bounds objects in objects.
const maxDepth = 16

// json reads an object, of which only the values that are wanted are looked at. encoding/json takes eight times as long to make a map of a line, and
// a log has millions of lines; it is what this is held to in tests.
func (l *layout) json(line string) error {
	s := scanner{text: line, layout: l}
	l.path = l.path[:0]
	if !s.object(0) {
		return errJSON
	}
	if s.space(); s.at != len(s.text) {
		return errJSON
	}
	return nil
}

// scanner reads JSON, RFC 8259. Its methods report whether what they are for was there, and go behind it.
type scanner struct {
	text   string
	at     int
	layout *layout
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// next reports whether the next character is c, and takes it.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) object(depth int) bool {
	if depth > maxDepth || !s.next('{') {
		return false
	}
	if s.next('}') {
		return true
	}
	for {
		s.space()
		name, ok := s.str()
		if !ok || !s.next(':') {
			return false
		}
		before := len(s.layout.path)
		if before > 0 {
			s.layout.path = append(s.layout.path, '.')
		}
		s.layout.path = append(s.layout.path, unquote(name)...)
		if !s.value(depth, true) {
			return false
		}
		s.layout.path = s.layout.path[:before]
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// value reads a value, which is noted if it is wanted: of a list the first.
func (s *scanner) value(depth int, noted bool) bool {
	s.space()
	if s.at == len(s.text) {
		return false
	}
	begin := s.at
	switch c := s.text[s.at]; {
	case c == '"':
		v, ok := s.str()
		if ok && noted {
			s.note(v, true)
		}
		return ok
	case c == '{':
		if !noted { // the paths of its fields would be those of the first
			was := s.layout
			s.layout = &layout{}
			defer func() { s.layout = was }()
		}
		return s.object(depth + 1)
	case c == '[':
		return s.list(depth+1, noted)
	case c == '-' || '0' <= c && c <= '9':
		ok := s.number()
		if ok && noted {
			s.note(s.text[begin:s.at], false)
		}
		return ok
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(s.text[s.at:], word) {
			s.at += len(word)
			return true
		}
	}
	return false
}

func (s *scanner) list(depth int, noted bool) bool {
	if depth > maxDepth || !s.next('[') {
		return false
	}
	if s.next(']') {
		return true
	}
	for {
		if !s.value(depth, noted) {
			return false
		}
		noted = false
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// note keeps a value that is wanted, unless a better field has been there.
func (s *scanner) note(value string, isText bool) {
	for _, w := range s.layout.fields[string(s.layout.path)] {
		if rank := s.layout.ranks[w.at]; rank != 0 && rank < w.rank {
			continue
		}
		s.layout.ranks[w.at] = w.rank
		if s.layout.values[w.at] = value; isText {
			s.layout.values[w.at] = unquote(value)
		}
	}
}

// str reads a string, and is what is between its quotes.
func (s *scanner) str() (string, bool) {
	if s.at == len(s.text) || s.text[s.at] != '"' {
		return "", false
	}
	s.at++
	begin := s.at
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[begin : s.at-1], true
		case c < ' ':
			return "", false
		case c == '\\':
			if s.at++; s.at == len(s.text) {
				return "", false
			}
			if s.text[s.at] == 'u' {
				if !s.hex() {
					return "", false
				}
			} else if strings.IndexByte(`"\/bfnrt`, s.text[s.at]) < 0 {
				return "", false
			}
		}
	}
	return "", false
}

// hex goes to the last of four digits.
func (s *scanner) hex() bool {
	for range 4 {
		if s.at++; s.at == len(s.text) || strings.IndexByte(hexDigits, lower(s.text[s.at])) < 0 {
			return false
		}
	}
	return true
}

// unquote is what a string says.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 && utf8.ValidString(s) {
		return s
	}
	var out string
	if err := json.Unmarshal([]byte(`"`+s+`"`), &out); err != nil { // str has read it
		panic(err)
	}
	return out
}

func (s *scanner) digits() bool {
	begin := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > begin
}

// is takes one of some characters.
func (s *scanner) is(any string) bool {
	if s.at < len(s.text) && strings.IndexByte(any, s.text[s.at]) >= 0 {
		s.at++
		return true
	}
	return false
}

func (s *scanner) number() bool {
	s.is("-")
	if !s.is("0") && !s.digits() {
		return false
	}
	if s.is(".") && !s.digits() {
		return false
	}
	if s.is("eE") {
		s.is("+-")
		return s.digits()
	}
	return true
}
