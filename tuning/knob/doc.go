// Package knob is one thing of a host that can be read and written: a sysctl, a file of sysfs, the affinity of an
// interrupt, a setting of a network device. It says when two values mean the same, since the kernel seldom
// gives back the text that it was given. It does not say what a knob should be: tuning/catalog does.
package knob
