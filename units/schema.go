package units

import (
	"encoding/json"
	"strings"
)

// object is a JSON object; encoding/json writes its keys in order of name.
type object = map[string]any

// Schema gives a JSON schema of the unit file for editors, indented, with a
// newline at its end. It keeps to the keywords of draft 4, which is what taplo
// reads through a "#:schema" line. It knows less than Decode: what it accepts
// may still be refused, what it refuses is.
func Schema() ([]byte, error) {
	root := object{
		"$schema":              "http://json-schema.org/draft-04/schema#",
		"title":                "berth unit file",
		"type":                 "object",
		"additionalProperties": false,
		"patternProperties":    object{"^x-": object{}},
		"properties":           object{},
	}
	nodes := map[string]object{"": root}
	for _, f := range table() {
		parent, name := "", f.Key
		if i := strings.LastIndexByte(f.Key, '.'); i >= 0 {
			parent, name = f.Key[:i], f.Key[i+1:]
		}
		s := schemaOf(f)
		into := nodes[parent]
		if name == "*" {
			into["additionalProperties"] = s
		} else {
			into["properties"].(object)[name] = s
		}
		if f.Required {
			required, _ := into["required"].([]string)
			into["required"] = append(required, name)
		}
		nodes[f.Key], nodes[f.Key+"[]"] = s, elementOf(s, f)
	}
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

// elementOf gives the schema that the keys below an array of tables belong to.
func elementOf(s object, f Field) object {
	switch f.Type {
	case TypeTables, TypeIDMap, TypeDependencies:
		elem := object{"type": "object", "additionalProperties": false, "properties": object{}}
		switch f.Type {
		case TypeIDMap:
			s["oneOf"] = []any{object{"enum": []string{"auto"}}, object{"type": "array", "items": elem}}
		case TypeDependencies:
			s["items"] = object{"oneOf": []any{object{"type": "string"}, elem}}
		default:
			s["items"] = elem
		}
		return elem
	}
	return nil
}

// schemaOf describes the values of one field.
func schemaOf(f Field) object {
	s := shapeOf(f)
	s["description"] = f.Help
	if f.Later {
		s["description"] = f.Help + " Not supported yet."
	}
	if n := defaultNodes()[f.Key]; n != nil {
		s["default"] = plainJSON(n)
	}
	return s
}

func shapeOf(f Field) object {
	word := object{"type": "string"}
	size := object{"type": "string", "pattern": sizePattern.text}
	count := object{"type": "integer", "minimum": 0}
	maximum := object{"enum": []string{"max"}}
	words := object{"type": "array", "items": word, "minItems": 1}
	either := func(of ...any) object { return object{"anyOf": of} }
	switch f.Type {
	case TypeTable:
		return object{"type": "object", "additionalProperties": false, "properties": object{}}
	case TypeNamed:
		return object{"type": "object", "properties": object{}}
	case TypeTables, TypeDependencies:
		return object{"type": "array"}
	case TypeIDMap:
		return object{}
	case TypeBool:
		return object{"type": "boolean"}
	case TypeInteger, TypeNumber:
		s := object{"type": string(f.Type)}
		if low, ok := bound(f, f.Min); ok {
			s["minimum"] = low
		}
		if high, ok := bound(f, f.Max); ok {
			s["maximum"] = high
		}
		return s
	case TypeDuration:
		return object{"type": "string", "pattern": durationForm}
	case TypeOffset:
		return object{"type": "string", "pattern": "^-?" + strings.TrimPrefix(durationForm, "^")}
	case TypeTimeout:
		return either(object{"type": "string", "pattern": durationForm}, object{"enum": []string{"infinity"}})
	case TypeSize:
		return either(size, count)
	case TypeSizeMax, TypeCountMax:
		return either(size, count, maximum)
	case TypeCPU:
		return either(object{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?%?$`}, object{"type": "number", "minimum": 0.001}, maximum)
	case TypeRate:
		return object{"type": "string", "pattern": `^(0|[0-9]+/.+)$`}
	case TypeCalendar, TypeListen:
		return object{"type": "string"}
	case TypeChoice:
		return object{"enum": f.Values}
	case TypeChoices:
		return object{"type": "array", "items": object{"enum": f.Values}}
	case TypeCommand:
		return either(word, words)
	case TypeCommands:
		return object{"type": "array", "items": either(word, words)}
	case TypeMode:
		return object{"type": "string", "pattern": octalPattern}
	case TypeAccess:
		return object{"type": "string", "pattern": access.text}
	case TypeFileAccess:
		return object{"type": "string", "pattern": fileAccess.text}
	case TypePorts:
		return object{"type": "array", "items": object{"type": "integer", "minimum": 0, "maximum": 65535}}
	case TypePath:
		return object{"type": "string"}
	case TypeNamespace:
		return object{"type": "string", "pattern": "^(new|host|unit:.+|path:/.+)$"}
	case TypeLimit:
		value := either(count, word)
		return either(count, word, object{"type": "object", "additionalProperties": false, "required": []string{"soft", "hard"},
			"properties": object{"soft": value, "hard": value}})
	case TypeSysctl:
		return either(word, object{"type": "integer"})
	case TypeTexts, TypePaths, TypeEnvFiles, TypeUnits, TypeInstances, TypeNames, TypeCapabilities, TypeSyscalls:
		return object{"type": "array", "items": word}
	}
	return word
}

// durationForm is the form of a Go duration that is not negative.
const durationForm = `^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`

// plainJSON turns a default into what encoding/json writes.
func plainJSON(n *node) any {
	switch n.kind {
	case boolean:
		return n.text == "true"
	case integer, float:
		return json.Number(n.text)
	}
	return n.text
}
