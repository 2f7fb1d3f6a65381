// Words and masks of language models.

// Embedding: y[i] = table[words[i]], zero for a word outside of the table (operation embedding). S: words (how many), rows
// and columns of the table, V, blocks.
template <class S> struct Embedding {
  In<int> words;
  In<float> table;
  Out<float> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::words * (S::columns / S::V); i += S::blocks * Threads) {
      int word = words[i / (S::columns / S::V)], column = i % (S::columns / S::V) * S::V;
      store<S::V>(y, i * S::V, word >= 0 && word < S::rows ? load<S::V>(table, word * S::columns + column) : zero<S::V>());
    }
  }
};

// EmbeddingGrad: the sum of g over the places of each word, in their order (operation embedding_grad). A block looks through
// all words for those of its rows of the table. S: words, rows, columns, share (rows of a block).
template <class S> struct EmbeddingGrad {
  In<float> g;
  In<int> words;
  Out<float> table;

  __device__ void run(int block) const {
    int first = block * S::share, end = smaller(S::rows, first + S::share);
    auto sums = shared<float>(0, S::share * S::columns);
    auto found = shared<int>(ceiling(4 * S::share * S::columns, 16) * 16, Threads);
    for (int i = thread(); i < S::share * S::columns; i += Threads) sums[i] = 0;
    for (int from = 0; from < S::words; from += Threads) {
      int word = from + thread() < S::words ? words[from + thread()] : -1;
      bool ours = word >= first && word < end;
      if (__syncthreads_count(ours) == 0) continue; // nor does anybody read what was found before
      found[thread()] = ours ? word - first : -1;
      __syncthreads();
      for (int k = 0; k < Threads; k++) {
        int row = found[k];
        if (row < 0) continue;
        for (int j = thread(); j < S::columns; j += Threads) sums[row * S::columns + j] += g[(from + k) * S::columns + j];
      }
    }
    // Each thread takes the columns that it has added up.
    for (int row = first; row < end; row++)
      for (int j = thread(); j < S::columns; j += Threads) table[row * S::columns + j] = sums[(row - first) * S::columns + j];
  }
};

// DropoutMask: zero with probability 1 - keep, else 1/keep (operation dropout_mask). S: size, stream, keep, blocks.
template <class S> struct DropoutMask {
  In<i64> seed, step;
  Out<float> mask;

  __device__ void run(int block) const {
    Philox random(seed[0], step[0], S::stream);
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) mask[i] = random.uniform((u64)i) < S::keep ? 1 / S::keep : 0.0f;
  }
};

// MaskSteps: x, zero from step length on (operation mask_steps). S: size, elements of a step, blocks.
template <class S> struct MaskSteps {
  In<float> x;
  In<i64> length;
  Out<float> y;

  __device__ void run(int block) const {
    for (int i = block * Threads + thread(); i < S::size; i += S::blocks * Threads) y[i] = i / S::step < length[0] ? x[i] : 0.0f;
  }
};
