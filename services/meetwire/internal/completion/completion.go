// Package completion owns what shells are told about the command line, so that they can complete it. It is derived from
// the model of the command line and knows no command by itself. It calls nothing: no name of a resource is completed.
package completion

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Candidate is a way to go on.
type Candidate struct {
	Word string
	Help string
}

// state is how far a command line was read.
type state struct {
	node      *kong.Node
	flag      *kong.Flag // that waits for its value
	arguments int        // how many there were
	onlyArgs  bool       // after --
}

// Candidates returns how the last of the words, which may be empty, can go on, and whether it is the name of a file.
// The words are those behind the program's name.
func Candidates(model *kong.Application, words []string) (all []Candidate, files bool) {
	if len(words) == 0 {
		words = []string{""}
	}
	words = joined(words)
	s := state{node: model.Node}
	for _, word := range words[:len(words)-1] {
		s.read(word)
	}
	last := words[len(words)-1]
	switch name, value, found := strings.Cut(last, "="); {
	case s.flag != nil:
		return values(s.flag.Value, "", last)
	case strings.HasPrefix(last, "--") && found && !s.onlyArgs:
		if flag := s.find(name); flag != nil {
			return values(flag.Value, name+"=", value)
		}
		return nil, false
	case strings.HasPrefix(last, "-") && !s.onlyArgs:
		return s.flags(last), false
	}
	for _, child := range s.node.Children {
		if !child.Hidden && child.Type == kong.CommandNode && strings.HasPrefix(child.Name, last) && s.arguments == 0 {
			all = append(all, Candidate{child.Name, child.Help})
		}
	}
	if argument := s.argument(); argument != nil {
		more, file := values(argument, "", last)
		return append(all, more...), file
	}
	return all, false
}

// joined undoes what bash does to --flag=value: it makes three words of it.
func joined(words []string) []string {
	var all []string
	for i := 0; i < len(words); i++ {
		if words[i] == "=" && len(all) > 0 && strings.HasPrefix(all[len(all)-1], "--") {
			// The flag waits for the next word, which is empty as long as nothing is typed.
			if i == len(words)-1 {
				all = append(all, "")
			}
			continue
		}
		all = append(all, words[i])
	}
	return all
}

// read goes one word further.
func (s *state) read(word string) {
	switch {
	case s.flag != nil:
		s.flag = nil
	case s.onlyArgs:
		s.arguments++
	case word == "--":
		s.onlyArgs = true
	case strings.HasPrefix(word, "-") && word != "-":
		name, _, given := strings.Cut(word, "=")
		short := !strings.HasPrefix(word, "--") && len(word) > 2 // -ojson
		if flag := s.find(name); flag != nil && !flag.IsBool() && !given && !short {
			s.flag = flag
		}
	default:
		for _, child := range s.node.Children {
			if child.Name == word || slices.Contains(child.Aliases, word) {
				s.node, s.arguments = child, 0
				return
			}
		}
		s.arguments++
	}
}

// find returns a flag by what is typed for it.
func (s *state) find(word string) *kong.Flag {
	for _, group := range s.node.AllFlags(false) {
		for _, flag := range group {
			if word == "--"+flag.Name || (flag.Short != 0 && strings.HasPrefix(word, "-"+string(flag.Short)) && !strings.HasPrefix(word, "--")) {
				return flag
			}
		}
	}
	return nil
}

// flags returns those that begin with what is typed.
func (s *state) flags(typed string) []Candidate {
	var all []Candidate
	for _, group := range s.node.AllFlags(true) {
		for _, flag := range group {
			if word := "--" + flag.Name; strings.HasPrefix(word, typed) {
				all = append(all, Candidate{word, flag.Help})
			}
		}
	}
	return all
}

// argument returns the positional argument that comes next.
func (s *state) argument() *kong.Positional {
	if s.arguments < len(s.node.Positional) {
		return s.node.Positional[s.arguments]
	}
	if n := len(s.node.Positional); n > 0 && s.node.Positional[n-1].IsCumulative() {
		return s.node.Positional[n-1]
	}
	return nil
}

// values returns what a value can be.
func values(v *kong.Value, before, typed string) (all []Candidate, files bool) {
	if v.Enum == "" {
		return nil, v.Tag.PlaceHolder == "FILE" || slices.Contains([]string{"path", "existingfile", "existingdir"}, v.Tag.Type)
	}
	for _, word := range v.EnumSlice() {
		if word != "" && strings.HasPrefix(word, typed) {
			all = append(all, Candidate{before + word, ""})
		}
	}
	return all, false
}
