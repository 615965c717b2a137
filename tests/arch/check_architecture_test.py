"""Proves that check_architecture.py finds each kind of violation, and nothing in clean files."""

import pathlib
import unittest

import check_architecture

CLEAN_HEADER = "#pragma once\n\nnamespace ditmoe::networks {\n}  // namespace ditmoe::networks\n"


def faults(path, text):
    return list(check_architecture.faults_in(pathlib.PurePath(path), text))


def network_source(first_line):
    return f"{first_line}\n\nnamespace ditmoe::networks {{\n}}\n"


class CheckArchitectureTest(unittest.TestCase):
    def assert_fault(self, path, text, expected):
        found = faults(path, text)
        self.assertEqual(len(found), 1, found)
        self.assertIn(expected, found[0])

    def test_clean_header_passes(self):
        self.assertEqual(faults("ditmoe/networks/a.h", CLEAN_HEADER), [])

    def test_include_to_the_left_passes(self):
        text = network_source('#include "ditmoe/formats/file.h"')
        self.assertEqual(faults("ditmoe/networks/a.cpp", text), [])

    def test_include_to_the_right_fails(self):
        text = network_source('#include "ditmoe/pipeline/grid.h"')
        self.assert_fault("ditmoe/networks/a.cpp", text, "does not stand left of networks")

    def test_include_of_an_equal_fails(self):
        text = '#include "ditmoe/kernels/norm.h"\nnamespace ditmoe::formats {\n}\n'
        self.assert_fault("ditmoe/formats/a.cpp", text, "does not stand left of formats")

    def test_include_of_an_unknown_folder_fails(self):
        text = network_source('#include "ditmoe/helpers/a.h"')
        self.assert_fault("ditmoe/networks/a.cpp", text, "not among the layers")

    def test_file_in_an_unknown_folder_fails(self):
        self.assert_fault("ditmoe/helpers/a.cpp", "", "not among the layers")

    def test_torch_above_the_firewall_fails(self):
        text = network_source("#include <torch/torch.h>")
        self.assert_fault("ditmoe/networks/a.cpp", text, "torch belongs to")

    def test_torch_in_the_torch_free_program_fails(self):
        self.assert_fault("apps/ditmoe/a.cpp", "#include <ATen/ATen.h>\n", "torch belongs to")

    def test_training_in_the_torch_free_program_fails(self):
        text = '#include "ditmoe/training/trainer.h"\n'
        self.assert_fault("apps/ditmoe/a.cpp", text, "behind the torch firewall")

    def test_torch_behind_the_firewall_passes(self):
        text = "#include <torch/torch.h>\nnamespace ditmoe::training {\n}\n"
        self.assertEqual(faults("ditmoe/training/a.cpp", text), [])
        self.assertEqual(faults("apps/ditmoe-train/a.cpp", "#include <torch/torch.h>\n"), [])

    def test_commented_include_is_ignored(self):
        text = network_source("// #include <torch/torch.h>")
        self.assertEqual(faults("ditmoe/networks/a.cpp", text), [])

    def test_namespace_of_another_folder_fails(self):
        text = "namespace ditmoe::data {\n}\n"
        self.assert_fault("ditmoe/networks/a.cpp", text, "expected namespace ditmoe::networks")

    def test_second_namespace_of_another_folder_fails(self):
        text = network_source("") + "namespace ditmoe::base {\n}\n"
        self.assert_fault("ditmoe/networks/a.cpp", text, "found ditmoe::base")

    def test_file_without_a_namespace_fails(self):
        self.assert_fault("ditmoe/networks/a.cpp", "int f();\n", "found none")

    def test_subfolder_has_its_own_namespace(self):
        text = "namespace ditmoe::kernels::ref {\n}\n"
        self.assertEqual(faults("ditmoe/kernels/ref/a.cpp", text), [])
        text = "namespace ditmoe::kernels {\n}\n"
        self.assert_fault("ditmoe/kernels/ref/a.cpp", text, "ditmoe::kernels::ref")

    def test_long_file_fails(self):
        text = CLEAN_HEADER + "\n" * check_architecture.MAX_LINES
        self.assert_fault("ditmoe/networks/a.h", text, "at most 600")

    def test_header_without_pragma_once_fails(self):
        text = CLEAN_HEADER.replace("#pragma once", "")
        self.assert_fault("ditmoe/networks/a.h", text, "#pragma once")

    def test_using_namespace_in_a_header_fails(self):
        text = CLEAN_HEADER + "using namespace std;\n"
        self.assert_fault("ditmoe/networks/a.h", text, "using namespace")


if __name__ == "__main__":
    unittest.main()
