package units

import (
	"reflect"
	"testing"
)

// TestDefaultsAreNobodysElse: what one unit is given by default is not another's.
func TestDefaultsAreNobodysElse(t *testing.T) {
	want := &Unit{}
	applyDefaults(reflect.ValueOf(want).Elem(), "")
	a, b := Defaults(), Defaults()
	if !reflect.DeepEqual(a, want) || !reflect.DeepEqual(b, want) {
		t.Error("the defaults are not those of the table")
	}
	var look func(x, y reflect.Value, path string)
	look = func(x, y reflect.Value, path string) {
		switch x.Kind() {
		case reflect.Struct:
			for i := range x.NumField() {
				look(x.Field(i), y.Field(i), path+"."+x.Type().Field(i).Name)
			}
		case reflect.Slice, reflect.Map, reflect.Pointer:
			if !x.IsNil() && x.Pointer() == y.Pointer() && !(x.Kind() == reflect.Slice && x.Len() == 0) {
				t.Errorf("two units share %s", path)
			}
		}
	}
	look(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "Unit")
}
