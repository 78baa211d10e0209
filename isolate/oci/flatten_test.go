package oci

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// flatten gives everything in v that is not zero, a line each:
// "Mounts[0].Target = /proc". Bits and modes are easier to read in hex and octal.
func flatten(v any) string {
	var lines []string
	flattenTo(&lines, "", reflect.ValueOf(v))
	return strings.Join(lines, "\n") + "\n"
}

func flattenTo(lines *[]string, path string, v reflect.Value) {
	if v.IsZero() && !strings.HasSuffix(path, "]") {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.Elem().Kind() != reflect.Struct {
			*lines = append(*lines, fmt.Sprintf("%s = %v", path, v.Elem()))
			return
		}
		if v.Elem().IsZero() {
			*lines = append(*lines, path+" is there")
		}
		flattenTo(lines, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			flattenTo(lines, strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			*lines = append(*lines, path+" is there") // a filter: package seccomp's matter
			return
		}
		if v.Len() == 0 {
			*lines = append(*lines, path+" is empty")
		}
		for i := range v.Len() {
			flattenTo(lines, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			flattenTo(lines, fmt.Sprintf("%s[%s]", path, k), v.MapIndex(k))
		}
	default:
		format := "%s = %v"
		for _, name := range []string{"Set", "Clear", "ClearIfAllowed", "SetRecursive", "ClearRecursive", "Propagation", "Bounding", "Effective", "Permitted", "Inheritable", "Ambient"} {
			if strings.HasSuffix(path, "."+name) {
				format = "%s = %#x"
			}
		}
		for _, name := range []string{".Umask", "Make.Mode"} {
			if strings.HasSuffix(path, name) {
				format = "%s = %#o"
			}
		}
		*lines = append(*lines, fmt.Sprintf(format, path, v))
	}
}
