package boot

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/meetwire/meetwire/pkg/version"
)

// grammar is what flags and environment variables are read into.
type grammar struct {
	Config any `embed:""`
	Common any `embed:""` // nil when it is a part of Config

	Version kong.VersionFlag `help:"Print the version."`
}

// Validate is asked by kong before the parts are, and reports what is wrong with all of them at once: kong itself
// would stop at the first.
func (g *grammar) Validate() error {
	var all []string
	for _, part := range []any{g.Config, g.Common} {
		for _, err := range problems(reflect.ValueOf(part)) {
			// A struct may ask its parts itself.
			if !slices.Contains(all, err.Error()) {
				all = append(all, err.Error())
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "\n"))
}

// parse reads the arguments and the environment. It reports whether that was all there is to do.
func (p *program) parse(args []string) (answered bool, err error) {
	grammar := &grammar{Config: p.config}
	if !contains(reflect.ValueOf(p.config), p.common) {
		grammar.Common = p.common
	}
	parser, err := kong.New(grammar,
		kong.Name(p.name),
		kong.Description(p.description),
		kong.Vars{"version": p.name + " " + version.Version},
		kong.Writers(p.stderr, p.stderr),
		kong.Exit(func(int) { answered = true }), // --help and --version; parsing goes on
	)
	if err != nil {
		return false, fmt.Errorf("describe the configuration: %w", err)
	}
	_, err = parser.Parse(args)
	if answered {
		return true, nil
	}
	if err != nil {
		return false, errors.New(explain(err.Error(), args, parser.Model.Flags))
	}
	return false, nil
}

// parts returns the structs that are embedded in one.
func parts(v reflect.Value) (embedded []reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		_, tagged := field.Tag.Lookup("embed")
		if field.IsExported() && (tagged || field.Anonymous) && field.Type.Kind() == reflect.Struct {
			embedded = append(embedded, v.Field(i))
		}
	}
	return embedded
}

// contains reports whether common is embedded in the struct that a pointer leads to.
func contains(pointer reflect.Value, common *Config) bool {
	if pointer.Interface() == any(common) {
		return true
	}
	return slices.ContainsFunc(parts(pointer.Elem()), func(part reflect.Value) bool {
		return contains(part.Addr(), common)
	})
}

// problems returns what is wrong with the struct that a pointer leads to, and with the structs embedded there.
func problems(pointer reflect.Value) (all []error) {
	if !pointer.IsValid() {
		return nil
	}
	if part, ok := pointer.Interface().(interface{ Validate() error }); ok {
		all = append(all, leaves(part.Validate())...)
	}
	for _, part := range parts(pointer.Elem()) {
		all = append(all, problems(part.Addr())...)
	}
	return all
}

// leaves takes joined errors apart.
func leaves(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error }) // one that is wrapped has a text of its own
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	for _, one := range joined.Unwrap() {
		all = append(all, leaves(one)...)
	}
	return all
}

// flagOrVariable finds the names of flags and of environment variables. A quotation mark in front belongs to what
// it finds, so that what is quoted is the name of nothing.
var flagOrVariable = regexp.MustCompile(`"?--[a-z][a-z0-9-]*|\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)

// explain names beside each flag its environment variable, and the other way round: whoever reads the message may
// have set either. It takes out arguments that belong to no flag, which may be a secret behind a stray space.
func explain(message string, args []string, flags []*kong.Flag) string {
	const unexpected = "unexpected argument"
	for _, arg := range args {
		message = strings.ReplaceAll(message, unexpected+" "+arg, unexpected)
	}
	lines := strings.Split(message, "\n")
	for i, line := range lines {
		named := make(map[string]bool)
		lines[i] = flagOrVariable.ReplaceAllStringFunc(line, func(token string) string {
			flag, variable := lookUp(token, flags)
			if flag == "" || variable == "" || named[flag] {
				return token
			}
			named[flag] = true
			// The other name may stand there already, also without its dashes.
			if token == variable && regexp.MustCompile(`\b`+flag+`\b`).MatchString(line) || token != variable && strings.Contains(line, variable) {
				return token
			}
			return "--" + flag + " (" + variable + ")"
		})
	}
	return strings.Join(lines, "\n")
}

// lookUp returns both names of the flag that has one of them.
func lookUp(token string, flags []*kong.Flag) (flag, variable string) {
	for _, f := range flags {
		if len(f.Envs) > 0 && (token == "--"+f.Name || token == f.Envs[0]) {
			return f.Name, f.Envs[0]
		}
	}
	return "", ""
}
