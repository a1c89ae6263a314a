package ovs

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ovn-kubernetes/libovsdb/model"
)

// A copy is equal and shares nothing that could be changed, in any column that a row may get.
func TestRowsAreCopied(t *testing.T) {
	for _, row := range []model.Model{&System{}, &Bridge{}, &Port{}, &Interface{}} {
		fill(t, reflect.ValueOf(row).Elem())
		c := model.Clone(row)
		if diff := cmp.Diff(row, c); diff != "" {
			t.Error(diff)
		}
		a, b := reflect.ValueOf(row).Elem(), reflect.ValueOf(c).Elem()
		for i := range a.NumField() {
			if f := a.Field(i); f.Kind() != reflect.String && f.Pointer() == b.Field(i).Pointer() {
				t.Errorf("%T: the copy shares %s", row, a.Type().Field(i).Name)
			}
		}
	}
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Int:
		v.SetInt(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
	default:
		t.Fatalf("a column of kind %s", v.Kind())
	}
}
