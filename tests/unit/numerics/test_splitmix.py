import numpy as np

from understudy.numerics.splitmix import mix, mix_one


def test_one_word_as_in_an_array():
    words = [0, 1, 2, 0x9E3779B97F4A7C15, (1 << 64) - 1]
    assert mix(np.array(words, dtype=np.uint64)).tolist() == [mix_one(word) for word in words]


def test_the_published_generator_from_seed_0():
    """Vigna's splitmix64: the first numbers after seed 0."""
    golden = 0x9E3779B97F4A7C15
    found = [mix_one(golden * n % (1 << 64)) for n in (1, 2, 3)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
