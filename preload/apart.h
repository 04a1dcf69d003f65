/*
 * For tables that are large, and whose greater part nobody touches: they lie
 * behind everything else (meson.build sorts the sections).  What is left, which
 * each lock and each fork touches, fits a page; after a fork every page of it
 * that is written costs a copy.
 */
#pragma once

#define SHIM_APART __attribute__((section(".bss.apart")))
