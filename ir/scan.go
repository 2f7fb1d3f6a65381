package ir

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tokenKind tells apart the smallest pieces of the text form.
type tokenKind uint8

const (
	tokenEnd      tokenKind = iota
	tokenMark               // one of ( ) { } [ ] = , :
	tokenWord               // relu, f32, true
	tokenNumber             // 12, -0.5, 1e-05, -inf; inf and nan are words
	tokenString             // "x"
	tokenValue              // %3
	tokenVariable           // @cells.0.weight or @"odd name"
)

// token is a piece of the text from byte at to byte stop. Its text is what it means: without quotes, % or @.
type token struct {
	kind     tokenKind
	text     string
	at, stop int
}

// scanner cuts the text form into tokens.
type scanner struct {
	text string
	pos  int
}

// next returns the token at the present position. An error is about the byte at the position of the returned token.
func (s *scanner) next() (token, error) {
	s.skipSpace()
	t := token{at: s.pos, stop: s.pos}
	if s.pos == len(s.text) {
		return t, nil
	}
	var err error
	switch c := s.text[s.pos]; {
	case strings.IndexByte("(){}[]=,:", c) >= 0:
		s.pos++
		t.kind, t.text = tokenMark, s.text[t.at:s.pos]
	case isLetter(c):
		t.kind, t.text = tokenWord, s.while(func(c byte) bool { return isLetter(c) || isDigit(c) })
	case isDigit(c) || c == '-':
		t.kind, t.text = tokenNumber, s.number()
	case c == '"':
		t.kind = tokenString
		t.text, err = s.quoted()
	case c == '%':
		s.pos++
		t.kind, t.text = tokenValue, s.while(isDigit)
		if t.text == "" {
			err = fmt.Errorf("want a value such as %%3")
		}
	case c == '@':
		t.kind = tokenVariable
		t.text, err = s.variable()
	default:
		r, _ := utf8.DecodeRuneInString(s.text[s.pos:])
		err = fmt.Errorf("character %q has no meaning here", r)
	}
	t.stop = s.pos
	return t, err
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.text) {
		switch rest := s.text[s.pos:]; {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			s.pos++
		case strings.HasPrefix(rest, "//"):
			line, _, _ := strings.Cut(rest, "\n")
			s.pos += len(line)
		default:
			return
		}
	}
}

func (s *scanner) while(in func(byte) bool) string {
	start := s.pos
	for s.pos < len(s.text) && in(s.text[s.pos]) {
		s.pos++
	}
	return s.text[start:s.pos]
}

// number takes letters too, so that 12abc is one malformed number and not a number beside a word.
func (s *scanner) number() string {
	start := s.pos
	s.pos++
	s.while(func(c byte) bool {
		sign := (c == '-' || c == '+') && s.text[s.pos-1]|0x20 == 'e'
		return sign || c == '.' || isDigit(c) || isLetter(c)
	})
	return s.text[start:s.pos]
}

func (s *scanner) quoted() (string, error) {
	prefix, err := strconv.QuotedPrefix(s.text[s.pos:])
	if err != nil {
		return "", fmt.Errorf("want a string in double quotes on one line, with Go's escapes")
	}
	s.pos += len(prefix)
	return strconv.Unquote(prefix)
}

func (s *scanner) variable() (string, error) {
	s.pos++
	if strings.HasPrefix(s.text[s.pos:], `"`) {
		return s.quoted()
	}
	name := s.while(func(c byte) bool { return c == '.' || isLetter(c) || isDigit(c) })
	if name == "" {
		return "", fmt.Errorf("want a variable such as @weight or @\"any name\"")
	}
	return name, nil
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// position gives the line and the column, in characters from 1, of a byte of the text.
func position(text string, at int) string {
	before := text[:at]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("%d:%d", line, column)
}
